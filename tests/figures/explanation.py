"""What it costs to say why, beside the network's passes."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from detector.devices import threads
from detector.pipeline import LevelName, Pipeline
from tests.figures.bench import Bench
from tests.figures.figure import Figure

__all__ = ["explanation"]

_BATCH = 32
_BATCHES = 30
_ROUNDS = 3
_TARGET = 0.10


def explanation(bench: Bench) -> list[Figure]:
    """Time to explain every image of a batch as a share of the network's pass, at the fast level.

    Both are read off the same run, so that a slow moment of the machine slows both. The median run
    of each batch counts, and the sum over all batches. One thread.
    """
    images = bench.pixels(bench.splits.test, _BATCHES * _BATCH)
    with threads(1):
        share, milliseconds = _cost(bench.pipeline, images)
    return [
        Figure(
            name=f"explaining all of a batch of {_BATCH}, fast",
            target=f"<= {_TARGET:.0%} of its pass",
            measured=f"{share:.1%}; {milliseconds:.3f} ms an image",
            holds=share <= _TARGET,
        )
    ]


def _cost(pipeline: Pipeline, images: Tensor) -> tuple[float, float]:
    """Share of the network's time, and milliseconds an image."""
    _run(pipeline, images[:_BATCH])  # warms up
    median = [
        sorted((_run(pipeline, batch) for _ in range(_ROUNDS)), key=lambda run: run[0] / run[1])[
            _ROUNDS // 2
        ]
        for batch in torch.split(images, _BATCH)
    ]
    explaining, network = (sum(each) for each in zip(*median, strict=True))
    return explaining / network, 1000 * explaining / len(images)


def _run(pipeline: Pipeline, images: Tensor) -> tuple[float, float]:
    """Seconds of explaining all images, and of the network's pass over them."""
    findings = pipeline.analyse(images, LevelName.FAST)
    started = time.perf_counter()
    explained = pipeline.explain(findings, range(len(images)))
    ended = time.perf_counter()
    if len(explained.explanations) != len(images) or findings.spent is None:
        raise RuntimeError("Every image of a batch should be explained, and the batch be timed.")
    return ended - started, findings.spent.network_s
