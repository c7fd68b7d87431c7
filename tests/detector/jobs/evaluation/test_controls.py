"""Controls hold on a sound evaluation and break on each sabotage."""

from __future__ import annotations

import numpy as np
import pytest

from detector.errors import ControlError, InvalidInputError
from detector.jobs.evaluation.controls import (
    ControlName,
    identity_control,
    noise_control,
    null_control,
    require_controls,
    shuffle_control,
    shuffled,
)
from detector.jobs.evaluation.estimates import Share

NOISE = {
    f"noise-{kind}:8/255": Share.of(hits, 100)
    for kind, hits in (("gaussian", 4), ("uniform", 5), ("sign", 9))
}


@pytest.fixture
def sound():
    """What all controls find where nothing is wrong, and the scores behind it."""
    generator = np.random.default_rng(0)
    clean, unchanged = generator.normal(size=900), generator.normal(size=300)
    attacked = np.r_[np.zeros(900, bool), np.ones(300, bool)]
    scores = np.r_[clean, unchanged + 2]
    return clean, unchanged, scores, attacked


def controls(sound, **replaced):
    clean, unchanged, scores, attacked = sound
    found = {
        "null": [null_control(clean, unchanged, subject="fast", seed=0)],
        "identity": [identity_control(unchanged, unchanged, subject="fast")],
        "shuffle": [shuffle_control(scores, shuffled(attacked, seed=0), subject="fast", seed=0)],
        "noise": noise_control(NOISE, subject="fast"),
    }
    return [result for results in {**found, **replaced}.values() for result in results]


def test_a_sound_evaluation_passes_with_every_control_in_it(sound):
    found = controls(sound)
    require_controls(found)
    assert [result.name for result in found] == list(ControlName)
    assert all(result.low <= result.figure <= result.high for result in found)
    assert [result.figure for result in found[3:]] == [0.04, 0.05, 0.09]


def test_rows_that_were_really_changed_break_the_null_control(sound):
    clean, unchanged, _, _ = sound
    broken = null_control(clean, unchanged + 0.5, subject="fast", seed=0)
    with pytest.raises(ControlError, match=r"1 that does not: null \(fast\): expected an AUROC"):
        require_controls(controls(sound, null=[broken]))


def test_a_shuffle_that_was_not_applied_breaks_the_label_shuffle_control(sound):
    _, _, scores, attacked = sound
    broken = shuffle_control(scores, attacked, subject="fast", seed=0)
    with pytest.raises(ControlError, match="label-shuffle"):
        require_controls(controls(sound, shuffle=[broken]))


def test_scores_that_have_seen_the_shuffled_labels_break_the_label_shuffle_control(sound):
    _, _, scores, attacked = sound
    called = shuffled(attacked, seed=0)
    broken = shuffle_control(scores + 2 * called, called, subject="fast", seed=0)
    assert not broken.holds


@pytest.mark.parametrize("missing", NOISE)
def test_noise_that_was_not_measured_breaks_the_noise_control(sound, missing):
    left = {label: share for label, share in NOISE.items() if label != missing}
    broken = noise_control(left, subject="fast")
    name = missing.partition(":")[0]
    with pytest.raises(ControlError, match=f"{name} .*found nothing"):
        require_controls(controls(sound, noise=broken))


def test_a_score_that_the_attack_path_changes_breaks_the_identity_control(sound):
    clean, _, _, _ = sound
    # Too few and too little for any AUROC to see.
    after = clean + 0.01 * (np.arange(len(clean)) < 20)
    assert not identity_control(clean, after, subject="fast").holds
    assert identity_control(clean, clean + 1e-6, subject="fast").holds
    assert null_control(clean, after, subject="fast", seed=0).holds
    with pytest.raises(InvalidInputError, match="900 scores"):
        identity_control(clean, clean[1:], subject="fast")


@pytest.mark.parametrize("left_out", ["null", "identity", "shuffle", "noise"])
def test_a_control_that_was_not_run_counts_as_broken(sound, left_out):
    with pytest.raises(ControlError, match="it was not run"):
        require_controls(controls(sound, **{left_out: []}))


def test_a_shuffle_keeps_the_number_of_rows_and_depends_on_the_seed_alone(sound):
    attacked = sound[3]
    first, again, other = (shuffled(attacked, seed=seed) for seed in (1, 1, 2))
    assert first.sum() == attacked.sum()
    assert (first == again).all()
    assert (first != other).any()
    assert (first != attacked).any()
