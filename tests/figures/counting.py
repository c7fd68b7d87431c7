"""What it costs to count gates and multiplications for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry
from torch import Tensor

from detector.decoupling import MacCount
from detector.devices import threads
from detector.pipeline import Pipeline
from service.metrics import Metrics
from service.skipping_metrics import count_of
from tests.figures.bench import Bench
from tests.figures.figure import Figure

__all__ = ["counting"]

_SIZES = (1, 32)
_ROUNDS = 64
_TARGET = 0.01


def counting(bench: Bench) -> list[Figure]:
    """Time of counting batches as a share of the time of judging them, the thread's own, in turns.

    All that is told of their paths: gates, and multiplications layer by layer.
    """
    count = count_of(bench.pipeline)
    if count is None:
        raise RuntimeError("The bundled default should be counted. Found that it cannot be.")
    images = bench.pixels(bench.splits.test, max(_SIZES) * _ROUNDS)
    with threads(1):
        return [
            _figure(bench.pipeline, level, count, images[: size * _ROUNDS].split(size))
            for level in bench.pipeline.levels
            for size in _SIZES
        ]


def _figure(pipeline: Pipeline, level: str, count: MacCount, batches: Sequence[Tensor]) -> Figure:
    metrics = Metrics(CollectorRegistry())
    judging = counting = 0.0
    for batch in batches:
        began = time.thread_time()
        findings = pipeline.analyse(batch, level)
        judged = time.thread_time()
        metrics.skipping.batch(count, len(batch), findings)
        judging, counting = judging + judged - began, counting + time.thread_time() - judged
    judged = time.thread_time()
    metrics.skipping.count_all()
    counting += time.thread_time() - judged
    return Figure(
        name=f"counting for metrics at {level}, batches of {len(batches[0])}",
        target=f"<= {_TARGET:.0%} of the time of judging",
        measured=f"{counting / judging:.2%} ({1e6 * counting / len(batches):.0f} us a batch)",
        holds=counting <= _TARGET * judging,
    )
