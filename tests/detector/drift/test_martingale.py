"""No bet wins on average where nothing has drifted, and some win much where something has."""

from __future__ import annotations

import copy
import math
from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.conformal import ConformalTable, Promise
from detector.drift import DriftMonitor, TestMartingale, Urn


def table(scores, predicted=None, classes=1):
    labels = torch.zeros(len(scores), dtype=torch.int64) if predicted is None else predicted
    return ConformalTable(torch.as_tensor(scores), labels, classes, promise=Promise())


class Lots(np.random.Generator):
    """Gives lots in a fixed order."""

    def __init__(self, lots):
        super().__init__(np.random.PCG64(0))
        self._lots = iter(lots)

    def random(self, size=None):
        if size is None:
            return next(self._lots)
        return np.array([next(self._lots) for _ in range(size)])


def values(order, *, calibration, least_p_value, lots=None, window=100, starts=1):
    """Capital after each image of a stream whose first scores are the calibration's."""
    martingale = TestMartingale(
        table([float(s) for s in order[:calibration]]),
        least_p_value=least_p_value,
        random=np.random.default_rng(0) if lots is None else Lots(lots),
        window=window,
        starts=starts,
    )
    found = []
    for score in order[calibration:]:
        martingale.observe(float(score), 0)
        found.append(martingale.value)
    return found


@pytest.mark.parametrize("least_p_value", [0.01, 0.4])
@pytest.mark.parametrize(("window", "starts"), [(100, 1), (100, 50), (2, 2)])
def test_over_all_orders_of_calibration_and_stream_the_mean_capital_stays_one(
    least_p_value, window, starts
):
    found = [
        values(order, calibration=3, least_p_value=least_p_value, window=window, starts=starts)
        for order in permutations(range(6))
    ]
    assert np.mean(found, axis=0) == pytest.approx([1, 1, 1], abs=1e-12)
    assert np.ptp(found, axis=0).min() > 0  # they do bet


@pytest.mark.parametrize("scores", [(0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 1), (0, 1, 1, 2)])
def test_ties_change_nothing_about_that(scores):
    found = [
        values(order, calibration=2, least_p_value=0.34, lots=[lot / 4 for lot in lots])
        for order, lots in product(permutations(scores), permutations(range(4)))
    ]
    assert np.mean(found, axis=0) == pytest.approx([1, 1], abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(
    count=st.integers(0, 60),
    least_p_value=st.sampled_from([0.01, 0.05, 0.2, 0.5]),
    past=st.lists(st.floats(-1, 61, width=16), max_size=30),
)
def test_after_any_past_no_bet_wins_on_average(count, least_p_value, past):
    scores = [float(s) for s in range(count)]
    left_out = math.floor(least_p_value * (count + 1) + 1e-9)
    urn = Urn(scores, left_out=left_out, random=np.random.default_rng(0))
    martingale = TestMartingale(
        table(scores), least_p_value=least_p_value, random=np.random.default_rng(0)
    )
    for score in past:
        place = urn.bin_of(score + 0.3, 0.5)
        assert martingale.observe(score + 0.3, 0) is (place is not None)
        if place is not None:
            urn.add(place)
    after = {}
    for score in np.arange(count + 1) - 0.5:  # one in each cell
        place = urn.bin_of(score, 0.5)
        if place is not None and place not in after:
            changed = copy.deepcopy(martingale)
            changed.observe(score, 0)
            after[place] = changed.value
    mean = sum(urn.probabilities[place] * value for place, value in after.items())
    assert mean == pytest.approx(martingale.value, rel=1e-9)


def test_few_calibration_images_raise_no_false_alarms_over_long_streams():
    """Ville: of 200 pairs of calibration and stream at most a share delta ever gets there."""
    delta, pairs, alarms = 0.1, 200, 0
    for seed in range(pairs):
        rng = np.random.default_rng(seed)
        monitor = DriftMonitor(
            {"fast": table(rng.normal(size=19))}, alpha=0.05, delta=delta, seed=seed
        )
        for score in rng.normal(size=300).tolist():
            monitor.observe("fast", score, 0)
        alarms += monitor.alarm
    assert alarms <= pairs * delta + 4 * math.sqrt(pairs * delta * (1 - delta))


CLASSES = 4
PER_CLASS = 350


def watched(stream, predicted, *, seed=0):
    """A monitor that has seen a stream, calibrated on normal scores of some classes."""
    rng = np.random.default_rng(seed)
    labels = torch.arange(CLASSES * PER_CLASS) % CLASSES
    scores = torch.as_tensor(rng.normal(size=len(labels)))
    monitor = DriftMonitor(
        {"fast": table(scores, labels, CLASSES)}, alpha=0.05, delta=1e-3, seed=seed
    )
    for score, label in zip(stream, predicted, strict=True):
        monitor.observe("fast", float(score), int(label))
    return monitor


@pytest.mark.parametrize(("mean", "spread"), [(0.7, 1.0), (-0.7, 1.0), (0.0, 0.5), (0.0, 2.5)])
@pytest.mark.parametrize("before", [0, 3000])
def test_drift_of_any_direction_is_found_within_two_thousand_images(mean, spread, before):
    rng = np.random.default_rng(7)
    stream = np.concatenate([rng.normal(size=before), rng.normal(mean, spread, size=2000)])
    predicted = rng.integers(CLASSES, size=len(stream))
    assert not watched(stream[:before], predicted[:before]).alarm
    assert watched(stream, predicted).alarm


def test_drift_of_a_single_class_is_found():
    rng = np.random.default_rng(3)
    predicted = rng.integers(CLASSES, size=4000)
    stream = rng.normal(size=4000) + (predicted == 2)
    assert watched(stream, predicted).alarm


def test_another_mix_of_classes_is_no_drift():
    rng = np.random.default_rng(5)
    monitor = watched(rng.normal(size=4000), np.zeros(4000))
    assert monitor.log_martingale < monitor.log_threshold / 2


def test_what_is_flagged_and_what_is_no_number_does_not_count():
    monitor = watched([9.0, math.nan, math.inf, 0.0], [0, 1, 2, 3])
    assert monitor.images == 1


def test_an_attack_on_a_fifth_of_the_traffic_is_not_taken_for_drift():
    """Nine of ten attack images score beyond nearly all clean ones, the rest as clean ones do."""
    rng = np.random.default_rng(11)
    predicted = rng.integers(CLASSES, size=4000)
    attacked = rng.random(4000) < 0.2 * 0.9
    monitor = watched(rng.normal(size=4000) + 6 * attacked, predicted)
    assert not monitor.alarm


def test_the_alarm_stays_when_the_drift_is_over():
    rng = np.random.default_rng(2)
    stream = np.concatenate([rng.normal(1.5, 1, size=500), rng.normal(size=500)])
    assert watched(stream, rng.integers(CLASSES, size=1000)).alarm


def test_levels_share_the_chance_of_a_false_alarm():
    scores = np.random.default_rng(0).normal(size=100)
    alone, three = (
        DriftMonitor({f"level {i}": table(scores) for i in range(count)}, alpha=0.05, delta=1e-3)
        for count in (1, 3)
    )
    assert alone.log_threshold == three.log_threshold == pytest.approx(math.log(1000))
    assert alone.log_martingale - three.log_martingale == pytest.approx(math.log(3))


def test_each_window_has_a_smaller_share_of_delta():
    martingale = TestMartingale(
        table([]), least_p_value=0.2, random=np.random.default_rng(0), window=3, starts=1
    )
    found = []
    for _ in range(7):  # a class without calibration images: nothing to bet on
        martingale.observe(0.0, 0)
        found.append(martingale.log_value)
    assert np.exp(found) == pytest.approx([1 / 2] * 3 + [1 / 6] * 3 + [1 / 12])


@pytest.mark.parametrize("starts", [0, 11])
def test_begin_times_have_to_fit_into_the_window(starts):
    with pytest.raises(ValueError, match=r"starts should lie in 1\.\.window"):
        TestMartingale(
            table([1.0]),
            least_p_value=0.2,
            random=np.random.default_rng(0),
            window=10,
            starts=starts,
        )


@pytest.mark.parametrize(("levels", "delta"), [(0, 0.1), (1, 0.0), (1, 1.0), (1, math.nan)])
def test_a_monitor_needs_a_level_and_a_probability(levels, delta):
    with pytest.raises(ValueError, match="at least one level"):
        DriftMonitor({f"level {i}": table([1.0]) for i in range(levels)}, alpha=0.05, delta=delta)
