"""What is promised of waits: near the truth, above nearly all of it, unmoved by one outlier."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.admission import DeadlineError, QueueFullError
from service.wait_times import WaitTimes

ratios = st.floats(0, 10)
weights = st.sampled_from([1 / 32, 0.25, 1.0])


class Waits:
    def __init__(self) -> None:
        self.now = 0.0
        self.times = WaitTimes(lambda: self.now)

    def wait(
        self,
        seconds: float,
        *,
        estimate: float = 1.0,
        left: float = 100.0,
        weight: float = 1.0,
        error: BaseException | None = None,
    ) -> None:
        with self.times.observed(estimate, left_s=left, weight=weight):
            self.now += seconds
            if error is not None:
                raise error

    def longest(self, estimate: float = 1.0) -> float:
        return self.times.longest_s(estimate)


@given(seen=st.lists(st.tuples(ratios, weights), max_size=60), estimate=st.floats(0, 100))
def test_no_promise_is_shorter_than_the_work_ahead(
    seen: list[tuple[float, float]], estimate: float
) -> None:
    waits = Waits()
    for ratio, weight in seen:
        waits.wait(ratio, weight=weight)
    assert waits.longest(estimate) >= estimate


@given(ratio=ratios, weight=weights)
def test_waits_of_one_ratio_are_promised_as_they_are(ratio: float, weight: float) -> None:
    waits = Waits()
    for _ in range(round(400 / weight)):
        waits.wait(2 * ratio, estimate=2.0, weight=weight)
    # After n batches (19/20)^n of the start is left, and n/20 times that of the way there.
    assert waits.longest(3.0) == pytest.approx(3 * max(1.0, ratio), rel=1e-5)


@given(low=st.floats(0.5, 4), width=st.floats(0, 4))
def test_the_promise_lies_above_waits_that_spread_evenly(low: float, width: float) -> None:
    waits = Waits()
    for step in range(400):
        waits.wait(low + width * ((7 * step) % 16) / 15, weight=1 / 4)
    # The mean deviation of an even spread is a quarter of it, so that the promise is the mean and
    # the whole width, and half the width would do. Forgetting moves both by less than the rest.
    assert waits.longest() >= low + width


@given(slow=st.floats(1, 1e9))
def test_a_machine_that_stood_still_for_a_moment_stretches_no_promise_beyond_reason(
    slow: float,
) -> None:
    waits = Waits()
    for _ in range(100):
        waits.wait(1.0)
    waits.wait(slow)
    # An outlier counts as 3: a twentieth of the distance of 2, on the mean and four times on the
    # deviation, and what is left of the first deviation.
    assert waits.longest() <= 1 + 5 * 2 / 20 + 0.02


def test_who_runs_out_of_time_would_have_waited_longer_than_there_was_time() -> None:
    waits = Waits()
    for _ in range(400):
        with pytest.raises(DeadlineError):
            waits.wait(0.5, left=2.0, error=DeadlineError("late for its batch"))
    assert waits.longest() == pytest.approx(2.0, rel=1e-3)


def test_who_goes_away_when_the_time_is_over_counts_and_who_goes_earlier_does_not() -> None:
    patient, impatient = Waits(), Waits()
    before = impatient.longest()
    for _ in range(400):
        with pytest.raises(asyncio.CancelledError):
            patient.wait(2.0, left=2.0, error=asyncio.CancelledError())
        with pytest.raises(asyncio.CancelledError):
            impatient.wait(1.9, left=2.0, error=asyncio.CancelledError())
    assert patient.longest() == pytest.approx(2.0, rel=1e-3)
    assert impatient.longest() == before


def test_other_failures_and_waits_for_nothing_teach_nothing() -> None:
    waits = Waits()
    before = waits.longest()
    with pytest.raises(QueueFullError):
        waits.wait(50.0, error=QueueFullError("full", retry_after_s=1))
    waits.wait(50.0, estimate=0.0)
    assert waits.longest() == before


def test_doubt_leads_back_to_the_work_ahead() -> None:
    waits = Waits()
    for _ in range(100):
        waits.wait(5.0)
    for _ in range(100):
        waits.times.doubt()
    assert waits.longest() == pytest.approx(1.0, rel=1e-3)
