"""What a verdict costs at each level: its passes of the network, and everything beside them."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch
from torch import Tensor

from detector.jobs.evaluation.report_sections import Cost
from detector.pipeline import LevelName, Pipeline

__all__ = ["level_cost"]

_ROUNDS = 3


def level_cost(
    pipeline: Pipeline, level: LevelName, images: Tensor, *, batch_size: int = 32
) -> Cost:
    """Time of a verdict, and of everything in it that is not the network's first passes.

    Both are read off the same runs, by hooks around the network, so that a slow moment of the
    machine slows both. The median run of each batch counts, and the sum over all batches: those
    with gates that rounding decides cost more than the others, and a single batch is one or not.

    Args:
        pipeline: The pipeline.
        level: Which level.
        images: uint8 of shape (N, 3, H, W), at the size of the preprocessing.
        batch_size: How many of them are looked at together.
    """
    batches = torch.split(images, batch_size)
    _run(pipeline, level, batches[0])  # warms up
    runs = [
        sorted((_run(pipeline, level, batch) for _ in range(_ROUNDS)), key=_Run.overhead)
        for batch in batches
    ]
    median = [each[_ROUNDS // 2] for each in runs]
    whole, network = (sum(each) for each in zip(*median, strict=True))
    return Cost(
        passes=pipeline.level(level).passes,
        milliseconds=1000 * whole / len(images),
        overhead=(whole - network) / network,
        batch_size=min(batch_size, len(images)),
        device=str(pipeline.device),
    )


class _Run(NamedTuple):
    """Seconds until the last verdict, and those of them in the network's first passes."""

    whole: float
    network: float

    def overhead(self) -> float:
        return (self.whole - self.network) / self.network


def _run(pipeline: Pipeline, level: LevelName, images: Tensor) -> _Run:
    moments: list[float] = []

    def note(*_: object) -> None:
        if pipeline.device.type == "cuda":
            torch.cuda.synchronize(pipeline.device)
        moments.append(time.perf_counter())

    hooks = [
        pipeline.network.register_forward_pre_hook(note),
        pipeline.network.register_forward_hook(note),
    ]
    started = time.perf_counter()
    try:
        findings = pipeline.analyse(images, level)
        for row in range(len(images)):
            pipeline.detect(findings, row)
        ended = time.perf_counter()
    finally:
        for hook in hooks:
            hook.remove()
    # What is run again for gates that rounding decides comes behind the first pass, and beside it.
    entered, left = moments[:2]
    return _Run(ended - started, left - entered)
