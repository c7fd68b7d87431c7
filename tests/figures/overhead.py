"""What a verdict costs beside the network's passes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from detector.bundle import load_bundle
from detector.devices import threads
from detector.jobs.evaluation.costs import level_cost
from detector.pipeline import Pipeline
from tests.figures.bench import Bench
from tests.figures.figure import Figure
from tests.figures.subjects import resnet18

__all__ = ["overhead"]

_SMALL_BATCH = 32
_SMALL_BATCHES = 30
_SMALL_TARGET = 0.12
_LARGE_BATCH = 8
_LARGE_TARGET = 0.05


def overhead(bench: Bench) -> list[Figure]:
    """Time of copies, scores and verdicts as a share of the network's passes, at each level.

    Both are read off the same run, by hooks around the network, so that a slow moment of the
    machine slows both. Over many batches, one thread. What is run again for gates that rounding
    decides is beside the network's passes, too.
    """
    images = bench.pixels(bench.splits.test, _SMALL_BATCHES * _SMALL_BATCH)
    with threads(1):
        found = _costs("ResNet-20", bench.pipeline, images, _SMALL_BATCH, _SMALL_TARGET)
        with resnet18(bench) as subject:
            pipeline = load_bundle(subject.bundle).pipeline
            pixels = torch.from_numpy(np.load(subject.pixels)).permute(0, 3, 1, 2).contiguous()
            return found + _costs(subject.name, pipeline, pixels, _LARGE_BATCH, _LARGE_TARGET)


def _costs(
    name: str, pipeline: Pipeline, images: Tensor, batch: int, target: float
) -> list[Figure]:
    costs = {
        level: level_cost(pipeline, level, images, batch_size=batch) for level in pipeline.levels
    }
    return [
        Figure(
            name=f"{name}: cost beside the network at {level}, batches of {batch}",
            target=f"<= {target:.0%} of its passes",
            measured=(
                f"{cost.overhead:.1%}; {cost.milliseconds:.2f} ms an image, {cost.passes} passes"
            ),
            holds=cost.overhead <= target,
        )
        for level, cost in costs.items()
    ]
