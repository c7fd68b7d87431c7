"""What a verdict costs at each level: its passes of the network, and everything beside them."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor

from detector.jobs.evaluation.report_sections import Cost
from detector.pipeline import LevelName, Pipeline

__all__ = ["level_cost"]

_ROUNDS = 9


def level_cost(pipeline: Pipeline, level: LevelName, images: Tensor) -> Cost:
    """Time of a verdict, and of everything in it that is not the network's passes.

    Both are read off the same runs, by hooks around the network, so that a slow moment of the
    machine slows both; the median run counts.

    Args:
        pipeline: The pipeline.
        level: Which level.
        images: uint8 of shape (B, 3, H, W), at the size of the preprocessing.
    """
    runs = [_run(pipeline, level, images) for _ in range(_ROUNDS + 1)][1:]  # the first warms up
    return Cost(
        passes=pipeline.level(level).passes,
        milliseconds=1000 * statistics.median(whole for whole, _ in runs) / len(images),
        overhead=statistics.median((whole - network) / network for whole, network in runs),
        batch_size=len(images),
        device=str(pipeline.device),
    )


def _run(pipeline: Pipeline, level: LevelName, images: Tensor) -> tuple[float, float]:
    """Seconds until the last verdict, and those of them in the network."""
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
    return ended - started, left - entered
