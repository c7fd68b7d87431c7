"""What the judging of paths costs beside the network."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor

from detector.pipeline import Pipeline
from tests.figures.bench import Bench
from tests.figures.figure import Figure

__all__ = ["overhead"]

_BATCH = 32
_REPEATS = 200
_WARM_UP = 20
_TARGET = 0.15


def overhead(bench: Bench) -> list[Figure]:
    """Time from the network's return to the last row's verdict as a share of the network's own.

    Both are read off the same run, by hooks around the network, so that a slow moment of the
    machine slows both. Medians over many runs, one thread.
    """
    pipeline = bench.pipeline
    images = bench.pixels(bench.splits.test, _BATCH * 8).split(_BATCH)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        runs = [_run(pipeline, images[i % len(images)]) for i in range(_WARM_UP + _REPEATS)]
    finally:
        torch.set_num_threads(threads)
    network, after = (statistics.median(part) for part in zip(*runs[_WARM_UP:], strict=True))
    return [
        Figure(
            name=f"cost of everything after the network, batch {_BATCH}",
            target=f"<= {_TARGET:.0%} of the network",
            measured=f"{after / network:.1%} ({after * 1e3:.2f} against {network * 1e3:.2f} ms)",
            holds=after / network <= _TARGET,
        )
    ]


def _run(pipeline: Pipeline, images: Tensor) -> tuple[float, float]:
    """Seconds in the network, and from there to the last verdict."""
    moments: list[float] = []

    def note(*_: object) -> None:
        moments.append(time.perf_counter())

    hooks = [
        pipeline.network.register_forward_pre_hook(note),
        pipeline.network.register_forward_hook(note),
    ]
    try:
        findings = pipeline.analyse(images)
        for row in range(len(images)):
            pipeline.detect(findings, row)
        end = time.perf_counter()
    finally:
        for hook in hooks:
            hook.remove()
    entered, left = moments
    return left - entered, end - left
