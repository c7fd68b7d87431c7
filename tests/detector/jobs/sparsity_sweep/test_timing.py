"""Times are ratios of the same images, in a fixed order that goes round."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from detector.jobs.sparsity_sweep import timing
from detector.jobs.sparsity_sweep.timing import measure_times, skip_where_it_pays
from detector.pipeline import Pipeline


class Clock:
    """A clock that moves only where the plain network runs, or a decoupled one."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Plain(nn.Module):
    """Takes two seconds and knows in which order it was asked."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.threads: set[int] = set()

    @override
    def forward(self, images: Tensor) -> Tensor:
        self.threads.add(torch.get_num_threads())
        self.clock.now += 2.0
        return images


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(timing, "time", made)
    return made


def test_each_way_is_told_by_the_plain_network_s_time_on_the_same_image(
    make_pipeline: Callable[..., Pipeline], images: Tensor, clock: Clock
) -> None:
    pipeline = make_pipeline()
    calls: list[int] = []

    def passed(*_: object) -> None:
        calls.append(1)
        clock.now += 3.0

    with pipeline.network.register_forward_hook(passed):
        times = measure_times(pipeline, Plain(clock), images, replicates=10, seed=0)
    assert times.images == 6
    assert times.plain_ms.value == times.plain_ms.low == times.plain_ms.high == 2000
    for ratio in (times.masked, times.served, times.verdict):
        assert (ratio.value, ratio.low, ratio.high) == (1.5, 1.5, 1.5)
    assert len(calls) == 3 * (5 + 3 * 6)  # warm-ups, and three rounds of the images


def test_a_slow_moment_moves_nothing(
    make_pipeline: Callable[..., Pipeline], images: Tensor, clock: Clock
) -> None:
    """Two rounds in three are slow on every second call."""
    pipeline, calls = make_pipeline(), itertools.count(-3 * 5)

    def passed(*_: object) -> None:
        number = next(calls)
        clock.now += 3.0 + 50.0 * (number < 2 * 3 * 6 and number % 2)

    with pipeline.network.register_forward_hook(passed):
        times = measure_times(pipeline, Plain(clock), images, replicates=10, seed=0)
    for ratio in (times.masked, times.served, times.verdict):
        assert (ratio.value, ratio.low, ratio.high) == (1.5, 1.5, 1.5)


def test_no_way_is_always_the_first_to_see_an_image(
    make_pipeline: Callable[..., Pipeline], images: Tensor, clock: Clock
) -> None:
    pipeline, plain, order = make_pipeline(), Plain(clock), []
    with (
        pipeline.network.register_forward_hook(lambda *_: order.append("decoupled")),
        plain.register_forward_hook(lambda *_: order.append("plain")),
    ):
        measure_times(pipeline, plain, images, replicates=2, seed=0)
    rounds = [order[start : start + 4] for start in range(5 * 4, len(order), 4)]
    assert [each.index("plain") for each in rounds] == [(-row) % 4 for row in range(18)]


def test_times_are_taken_on_one_thread_and_the_number_before_comes_back(
    make_pipeline: Callable[..., Pipeline], images: Tensor, clock: Clock
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        plain = Plain(clock)
        measure_times(make_pipeline(), plain, images, replicates=2, seed=0)
        assert torch.get_num_threads() == 2
        assert plain.threads == {1}
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("pays", [True, False])
def test_a_pipeline_skips_only_where_that_is_faster(
    make_pipeline: Callable[..., Pipeline],
    images: Tensor,
    monkeypatch: pytest.MonkeyPatch,
    pays: bool,
) -> None:
    pipeline, tried, ran = make_pipeline(), [], []
    network = object()

    def choose(_network: object, some: Tensor, largest: int) -> tuple[object, object]:
        tried.append((len(some), largest, torch.get_num_threads()))
        return SimpleNamespace(pays=pays), network

    monkeypatch.setattr(timing, "choose_plan", choose)
    monkeypatch.setattr(pipeline, "skip", ran.append)
    skip_where_it_pays(pipeline, images)
    assert tried == [(6, 32, 1)]
    assert ran == [network if pays else None]
