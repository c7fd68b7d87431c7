"""The line through the times of batches: never negative, near the truth, unmoved by one outlier."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batch_times import BatchTimes

sizes = st.sampled_from([1, 2, 4, 8, 12, 16, 24, 32])
seconds = st.floats(0, 100, allow_nan=False)


def learnt(batches: list[tuple[int, float]]) -> BatchTimes:
    times = BatchTimes(["one", "other"])
    for size, took in batches:
        times.learn("one", size, took)
    return times


@given(batches=st.lists(st.tuples(sizes, seconds), max_size=40), size=sizes)
def test_no_estimate_is_negative_and_a_larger_batch_is_never_expected_to_be_faster(
    batches: list[tuple[int, float]], size: int
) -> None:
    times = learnt(batches)
    assert 0 <= times.expected_s("one", size) <= times.expected_s("one", size + 1)
    assert times.expected_s("other", size) == 0


@given(
    slope=st.floats(1e-5, 1),
    offset=st.floats(1e-3, 1),
    seen=st.lists(sizes, min_size=2, max_size=40),
    size=sizes,
)
def test_times_on_a_line_give_that_line_once_warm_up_has_met_both_ends(
    slope: float, offset: float, seen: list[int], size: int
) -> None:
    times = learnt([(each, slope * each + offset) for each in (1, 32, *seen)])
    # Sums over sizes up to 32 in double precision lose no more than six of sixteen digits.
    assert times.expected_s("one", size) == pytest.approx(slope * size + offset, rel=1e-6)


@given(size=sizes, slow=st.floats(1, 1e6))
def test_one_slow_batch_makes_no_estimate_longer_than_twice(size: int, slow: float) -> None:
    steady = [(each, 0.001 * each + 0.01) for each in (1, 32, 8, 16, 4, 24, 2, 12, 8, 16)]
    before, after = learnt(steady), learnt([*steady, (size, slow)])
    for each in (1, 8, 32):
        assert after.expected_s("one", each) <= 2 * before.expected_s("one", each)


def test_a_machine_that_became_ten_times_slower_is_believed_within_thirty_batches() -> None:
    times = learnt([(n, 0.01 * n) for n in (1, 32, 8, 16)] + [(n, 0.1 * n) for n in (8, 16) * 15])
    assert times.expected_s("one", 32) == pytest.approx(3.2, rel=0.1)


def test_batches_of_one_size_move_the_line_and_keep_its_shape() -> None:
    times = learnt([(1, 1.0), (32, 32.0)] + [(32, 64.0)] * 60)
    assert times.expected_s("one", 32) == pytest.approx(64, rel=0.01)
    assert times.expected_s("one", 1) == pytest.approx(2, rel=0.01)


def test_an_estimate_that_is_doubted_gets_shorter_until_a_batch_puts_it_right() -> None:
    times = learnt([(1, 1.0), (32, 32.0)])
    for _ in range(50):
        times.doubt("one")
    assert times.expected_s("one", 32) < 0.2
    times.learn("one", 32, 32.0)
    assert times.expected_s("one", 32) == pytest.approx(32)


def test_a_doubt_that_a_batch_confirms_stays() -> None:
    times = learnt([(1, 10.0), (32, 320.0)])  # on a machine that was busy ten times over
    for _ in range(50):
        times.doubt("one")
    times.learn("one", 32, 32.0)
    assert times.expected_s("one", 32) == pytest.approx(32)
