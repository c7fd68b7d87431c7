"""A quota holds in the long run, lets bursts through, and says when to come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.security.errors import QuotaExceededError
from service.security.principal import ANONYMOUS, Principal, Rate
from service.security.principals import MOST_PRINCIPALS
from service.security.quotas import Quotas


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def web(**rates: Rate) -> Principal:
    return Principal(name="web", **rates)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quotas(clock: Clock) -> Quotas:
    return Quotas(clock)


def test_a_burst_passes_and_what_follows_is_told_when_to_come_back(
    quotas: Quotas, clock: Clock
) -> None:
    caller = web(calls=Rate(per_s=2, burst=3))
    for _ in range(3):
        quotas.take_call(caller)
    with pytest.raises(QuotaExceededError, match="2 calls a second") as caught:
        quotas.take_call(caller)
    assert caught.value.retry_after_s == pytest.approx(0.5)
    clock.now_s += caught.value.retry_after_s
    quotas.take_call(caller)
    with pytest.raises(QuotaExceededError):
        quotas.take_call(caller)


def test_calls_and_images_are_counted_apart(quotas: Quotas) -> None:
    caller = web(calls=Rate(per_s=1, burst=1), images=Rate(per_s=1, burst=10))
    quotas.take_call(caller)
    quotas.take_images(caller, 10)
    with pytest.raises(QuotaExceededError, match="images"):
        quotas.take_images(caller, 1)


def test_a_request_larger_than_the_burst_passes_once_and_is_paid_for_afterwards(
    quotas: Quotas, clock: Clock
) -> None:
    caller = web(images=Rate(per_s=10, burst=20))
    quotas.take_images(caller, 50)
    with pytest.raises(QuotaExceededError) as caught:
        quotas.take_images(caller, 1)
    assert caught.value.retry_after_s == pytest.approx(3.1)
    clock.now_s += 3.1
    quotas.take_images(caller, 1)


def test_a_refused_call_costs_nothing(quotas: Quotas, clock: Clock) -> None:
    caller = web(images=Rate(per_s=1, burst=4))
    quotas.take_images(caller, 3)
    for _ in range(100):
        with pytest.raises(QuotaExceededError):
            quotas.take_images(caller, 2)
    quotas.take_images(caller, 1)


def test_callers_do_not_use_up_each_others_quota(quotas: Quotas) -> None:
    rate = Rate(per_s=1, burst=1)
    for name in ("a", "b"):
        quotas.take_call(Principal(name=name, calls=rate))


def test_who_has_no_quota_is_never_refused(quotas: Quotas) -> None:
    for _ in range(10_000):
        quotas.take_call(ANONYMOUS)
        quotas.take_images(ANONYMOUS, 64)


def test_a_changed_quota_counts_from_its_change(quotas: Quotas) -> None:
    quotas.take_call(web(calls=Rate(per_s=1, burst=1)))
    for _ in range(5):
        quotas.take_call(web(calls=Rate(per_s=1, burst=5)))
    with pytest.raises(QuotaExceededError):
        quotas.take_call(web(calls=Rate(per_s=1, burst=5)))


def test_a_clock_that_stands_still_or_runs_back_gives_nothing(quotas: Quotas, clock: Clock) -> None:
    caller = web(calls=Rate(per_s=1, burst=1))
    quotas.take_call(caller)
    clock.now_s -= 10
    with pytest.raises(QuotaExceededError):
        quotas.take_call(caller)


def test_memory_is_bounded_however_many_names_there_were(quotas: Quotas) -> None:
    for number in range(5 * MOST_PRINCIPALS):
        quotas.take_call(Principal(name=f"p{number}", calls=Rate(per_s=1, burst=1)))
    assert len(quotas._buckets) == 2 * MOST_PRINCIPALS


@given(
    per_s=st.floats(0.1, 100),
    burst=st.integers(1, 50),
    steps=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 80)), max_size=60),
)
def test_no_order_of_requests_gets_more_than_burst_and_rate_and_one_request_give(
    per_s: float, burst: int, steps: list[tuple[float, int]]
) -> None:
    clock = Clock()
    quotas = Quotas(clock)
    caller = web(images=Rate(per_s=per_s, burst=burst))
    started, passed, largest = clock.now_s, 0, 0
    for pause_s, images in steps:
        clock.now_s += pause_s
        try:
            quotas.take_images(caller, images)
        except QuotaExceededError:
            continue
        passed, largest = passed + images, max(largest, images)
        overdraft = max(0, largest - burst)
        assert passed <= burst + per_s * (clock.now_s - started) + overdraft + 1e-6
