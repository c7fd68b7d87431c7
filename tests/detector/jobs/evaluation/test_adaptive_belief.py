"""Weak attackers do not make a detector look good: not in the headline, the tables or the gate."""

from __future__ import annotations

from dataclasses import replace

import pytest

from detector.errors import ControlError, GateError
from detector.jobs.evaluation.adaptive_belief import (
    require_believable,
    strongest_attacks,
    unbelievable_levels,
)
from detector.jobs.evaluation.estimates import Share
from detector.jobs.evaluation.figures import ShareAtBudget
from detector.jobs.evaluation.release_gate import gate_refusals, require_promotion
from detector.jobs.evaluation.report_sections import (
    AdaptiveFigures,
    AdaptivePoint,
    HalfSuccess,
    HealthCheck,
)
from detector.jobs.evaluation.tables import report_markdown

FALLS = "success does not fall as epsilon grows"


def point(attack, hits, *, level="fast", believable=True):
    share = None if hits is None else Share.of(hits, 100)
    return AdaptivePoint(
        attack=attack,
        level=level,
        epsilon=0.01,
        success=(ShareAtBudget(budget=0.05, share=share),),
        believable=believable,
    )


def figures(*points):
    """What attackers reach, with one failed check for each that is not to be believed."""
    half = [
        HalfSuccess(
            attack=each.attack,
            level=each.level,
            budget=0.05,
            epsilon=0.01,
            believable=each.believable,
        )
        for each in points
    ]
    health = [
        HealthCheck(
            name=f"{each.attack} at {each.level}: {FALLS}",
            holds=each.believable,
            finding="found 0.100 against 0.900",
        )
        for each in points
    ]
    return AdaptiveFigures(points=points, half=tuple(half), health=tuple(health))


def test_the_headline_is_the_strongest_attacker_of_each_level():
    found = strongest_attacks(
        [point("joint-pgd", 40), point("selective-pgd", 60), point("joint-pgd", 9, level="slow")]
    )
    assert [(each.level, each.attack, each.success.hits) for each in found.values()] == [
        ("fast", "selective-pgd", 60),
        ("slow", "joint-pgd", 9),
    ]


def test_images_that_a_weak_attacker_found_count_all_the_same():
    weak, sound = point("selective-pgd", 90, believable=False), point("joint-pgd", 60)
    (found,) = strongest_attacks([sound, weak]).values()
    assert (found.attack, found.success.hits, found.believable) == ("selective-pgd", 90, False)


@pytest.mark.parametrize("weak_first", [True, False])
def test_of_attackers_that_do_equally_well_a_sound_one_is_named(weak_first):
    weak, sound = point("selective-pgd", 60, believable=False), point("joint-pgd", 60)
    (found,) = strongest_attacks([weak, sound] if weak_first else [sound, weak]).values()
    assert (found.attack, found.believable) == ("joint-pgd", True)


def test_an_attack_that_met_no_image_is_no_headline():
    assert strongest_attacks([point("joint-pgd", None)]) == {}


def test_a_level_is_believed_as_long_as_one_of_its_attackers_is():
    weak, sound = point("selective-pgd", 5, believable=False), point("joint-pgd", 60)
    assert unbelievable_levels(figures(weak, sound)) == ()
    require_believable(figures(weak, sound))
    require_believable(None)


def test_a_level_whose_attackers_are_all_weak_fails_the_run_with_their_names():
    other = point("joint-pgd", 60, level="slow")
    weak = [point(name, 5, believable=False) for name in ("selective-pgd", "joint-pgd")]
    with pytest.raises(ControlError, match="Found none at fast") as raised:
        require_believable(figures(*weak, other))
    for name in ("selective-pgd", "joint-pgd"):
        assert f"{name} at fast: {FALLS}: found 0.100 against 0.900" in str(raised.value)
    assert "slow" not in str(raised.value)


def test_the_tables_mark_the_weak_and_call_what_they_reach_a_lower_bound(report_with):
    weak, sound = point("selective-pgd", 90, believable=False), point("joint-pgd", 60)
    text = report_markdown(report_with(adaptive=figures(weak, sound)))
    rows = [line for line in text.splitlines() if "selective-pgd **not believed**" in line]
    assert len(rows) == 2  # success, and the epsilon of half success
    assert "joint-pgd **not believed**" not in text
    assert "| selective-pgd | at least 90.0 % [" in text
    assert "no more than a lower bound" in text

    text = report_markdown(report_with(adaptive=figures(replace(weak, believable=True), sound)))
    assert "| selective-pgd | 90.0 % [" in text
    for mark in ("not believed", "at least", "lower bound"):
        assert mark not in text[text.index("## Attackers") :]


def judged(report_with, before, after):
    released, candidate = (report_with(adaptive=each) for each in (before, after))
    return gate_refusals(released, candidate)


def test_a_bundle_that_attackers_get_past_more_often_is_refused(report_with):
    before, after = figures(point("joint-pgd", 40)), figures(point("joint-pgd", 80))
    (refusal,) = judged(report_with, before, after)
    assert refusal.figure == (
        "fast: images left alone by attackers who know the detector, epsilon 0.0100, budget 0.05"
    )
    assert (refusal.released, refusal.candidate) == (pytest.approx(0.6), pytest.approx(0.2))
    assert judged(report_with, after, before) == ()
    assert judged(report_with, before, figures(point("joint-pgd", 45))) == ()
    assert judged(report_with, before, None) == ()


def test_a_bundle_that_only_weak_attackers_met_is_refused(report_with):
    before = figures(point("joint-pgd", 40))
    weak = figures(point("joint-pgd", 0, believable=False))
    (refusal,) = judged(report_with, before, weak)
    assert refusal.figure == "fast: attackers who know the detector"
    with pytest.raises(GateError, match="none passes all health checks"):
        require_promotion(report_with(adaptive=before), report_with(adaptive=weak))


def test_nothing_is_compared_with_what_a_weak_attacker_reached(report_with):
    weak = figures(point("joint-pgd", 10, believable=False))
    assert judged(report_with, weak, figures(point("joint-pgd", 80))) == ()


def test_an_attacker_that_the_released_bundle_never_met_is_not_held_against_the_new_one(
    report_with,
):
    before = figures(point("joint-pgd", 40))
    after = figures(point("joint-pgd", 42), point("guide-matching", 99))
    assert judged(report_with, before, after) == ()
