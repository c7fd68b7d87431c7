"""Who runs a campaign, and who only looks a little like it."""

from __future__ import annotations

import numpy as np
import pytest

from service.campaigns import CampaignRule, CampaignWatch

RULE = CampaignRule(related=8, queries=50, window_s=60.0)


@pytest.fixture
def watch(hasher, clock):
    return CampaignWatch(RULE, hasher=hasher, most_principals=3, clock=clock)


def test_the_first_image_with_enough_related_earlier_ones_begins_a_campaign(watch, variations):
    seen = [watch.see("mallory", *each) for each in variations.many(RULE.related + 3)]
    assert [sighting.related for sighting in seen] == list(range(RULE.related + 3))
    assert [sighting.belongs for sighting in seen] == [False] * RULE.related + [True] * 3
    assert [sighting.begins for sighting in seen].count(True) == 1
    assert seen[RULE.related].begins
    assert watch.active() == 1


def test_exact_duplicates_and_bursts_of_retries_never_count(watch, variations):
    few = variations.many(RULE.related)
    seen = [watch.see("alice", *few[i % len(few)]) for i in range(50 * len(few))]
    assert not any(sighting.belongs for sighting in seen)
    assert watch.active() == 0


def test_an_image_has_one_digest_whether_its_principal_is_watched_or_not(watch, variations):
    bits, pixels = variations()
    assert watch.see("alice", bits, pixels).digest == watch.digest(pixels.copy())
    assert watch.see("bob", *variations()).digest != watch.digest(pixels)


def test_images_that_differ_are_no_campaign_however_many(watch, strangers):
    seen = [watch.see("alice", *each()) for each in strangers]
    assert max(sighting.related for sighting in seen) == 0


def test_a_campaign_is_found_among_other_images_of_its_principal(watch, variations, strangers):
    seen = []
    for stranger in strangers[: RULE.related + 1]:
        watch.see("mallory", *stranger())
        seen.append(watch.see("mallory", *variations()))
    assert seen[-1].begins


def test_windows_of_principals_are_apart(watch, variations):
    names = ["alice", "bob"]
    many = variations.many(2 * RULE.related)
    seen = [watch.see(names[i % 2], *each) for i, each in enumerate(many)]
    assert not any(sighting.belongs for sighting in seen)


def test_a_slow_sequence_is_forgotten_as_it_goes(watch, variations, clock):
    for each in variations.many(40):
        clock.time += RULE.window_s / RULE.related
        assert not watch.see("slow", *each).belongs


def test_a_campaign_ends_with_silence_and_a_new_one_begins(watch, variations, clock):
    for each in variations.many(RULE.related + 1):
        watch.see("mallory", *each)
    clock.time += RULE.window_s - 0.001
    assert watch.active() == 1
    clock.time += 0.001
    assert watch.active() == 0
    seen = [watch.see("mallory", *each) for each in variations.many(RULE.related + 1)]
    assert seen[-1].begins


def test_an_image_does_not_belong_any_more_at_the_time_to_try_again(watch, variations, clock):
    for each in variations.many(RULE.related):
        clock.time += 1
        watch.see("mallory", *each)
    image = variations()
    wait_s = watch.see("mallory", *image).retry_after_s
    assert wait_s == pytest.approx(RULE.window_s - RULE.related + 1)
    clock.time += wait_s - 0.01
    assert watch.see("mallory", *image).belongs
    clock.time += 0.02
    assert not watch.see("mallory", *image).belongs


def test_who_was_silent_longest_is_forgotten_and_memory_stays_bounded(watch, variations, hasher):
    image = variations()
    for i in range(100):
        watch.see(f"principal {i}", *image)
        watch.see("regular", *variations())
    assert watch.principals == 3
    per_query = hasher.words * 8 + 48 + 16
    assert watch.nbytes <= 3 * RULE.queries * per_query
    assert watch.see("regular", *image).related > RULE.related


def test_the_memory_of_many_full_windows_is_what_the_rule_says(hasher, clock, variations):
    watch = CampaignWatch(RULE, hasher=hasher, most_principals=4, clock=clock)
    rng = np.random.default_rng(0)
    for _ in range(4 * RULE.queries * 2):
        watch.see(f"principal {rng.integers(8)}", *variations())
    assert watch.nbytes <= 4 * RULE.queries * (hasher.words * 8 + 48 + 16)


def test_room_for_nobody_is_refused(hasher, clock):
    with pytest.raises(ValueError, match="at least 1 principal"):
        CampaignWatch(RULE, hasher=hasher, most_principals=0, clock=clock)
