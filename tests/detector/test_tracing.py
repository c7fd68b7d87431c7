"""Networks are traced in one thread while others compute in another, as a server does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detector.decoupling import DecoupledNetwork
from detector.tracing import computing, tracing

PATIENCE_S = 60


class Slow(nn.Module):
    """Traces as any other, but not before somebody says so."""

    def __init__(self, begun: threading.Event, go_on: threading.Event) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)
        self._events = (begun, go_on)

    def forward(self, images: Tensor) -> Tensor:
        begun, go_on = self._events
        begun.set()
        assert go_on.wait(PATIENCE_S)
        values = self.second(torch.relu(self.norm(self.first(images))))
        return self.head(values.mean(dim=(2, 3)))


@pytest.fixture
def pool() -> Any:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_what_is_computed_beside_a_trace_waits_and_is_right(
    make_pipeline: Callable[..., Any], images: Tensor, pool: ThreadPoolExecutor
) -> None:
    pipeline = make_pipeline()
    expected = pipeline.analyse(images)
    begun, go_on = threading.Event(), threading.Event()
    building = pool.submit(DecoupledNetwork, Slow(begun, go_on))
    assert begun.wait(PATIENCE_S)  # torch's modules are changed from here on
    analysing = pool.submit(pipeline.analyse, images)
    with pytest.raises(TimeoutError):
        analysing.result(0.5)
    go_on.set()
    found = analysing.result(PATIENCE_S)
    assert torch.equal(found.class_logits, expected.class_logits)
    assert torch.equal(found.scores, expected.scores)
    assert len(building.result(PATIENCE_S).sites) == 1


def test_a_trace_waits_for_what_computes_and_goes_before_what_comes_later(
    pool: ThreadPoolExecutor,
) -> None:
    order: list[str] = []
    wanted = threading.Event()

    def trace() -> None:
        wanted.set()
        with tracing():
            order.append("traced")

    def compute() -> None:
        with computing():
            order.append("computed later")

    with computing():
        tracer = pool.submit(trace)
        assert wanted.wait(PATIENCE_S)
        with pytest.raises(TimeoutError):
            tracer.result(0.1)
        later = pool.submit(compute)
        with pytest.raises(TimeoutError):
            later.result(0.1)
        order.append("computed")
    tracer.result(PATIENCE_S)
    later.result(PATIENCE_S)
    assert order == ["computed", "traced", "computed later"]


def test_many_compute_at_once(pool: ThreadPoolExecutor) -> None:
    both = threading.Barrier(2, timeout=PATIENCE_S)

    def compute() -> int:
        with computing():
            return both.wait()

    found = [pool.submit(compute) for _ in range(2)]
    assert sorted(each.result(PATIENCE_S) for each in found) == [0, 1]


def test_a_trace_that_fails_lets_others_go_on() -> None:
    with pytest.raises(ValueError, match="trace"), tracing():
        raise ValueError("trace")
    with pytest.raises(ValueError, match="network"), computing():
        raise ValueError("network")
    with tracing(), pytest.raises(ValueError, match="inside"):
        raise ValueError("inside")
