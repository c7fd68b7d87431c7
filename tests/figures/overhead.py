"""What a verdict costs beside the network's passes."""

from __future__ import annotations

import torch

from detector.jobs.evaluation.costs import level_cost
from tests.figures.bench import Bench
from tests.figures.figure import Figure

__all__ = ["overhead"]

_BATCH = 32
_BATCHES = 30
_TARGET = 0.15


def overhead(bench: Bench) -> list[Figure]:
    """Time of copies, scores and verdicts as a share of the network's passes, at each level.

    Both are read off the same run, by hooks around the network, so that a slow moment of the
    machine slows both. Over many batches, one thread. What is run again for gates that rounding
    decides is beside the network's passes, too.
    """
    images = bench.pixels(bench.splits.test, _BATCHES * _BATCH)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        costs = {
            level: level_cost(bench.pipeline, level, images, batch_size=_BATCH)
            for level in bench.pipeline.levels
        }
    finally:
        torch.set_num_threads(threads)
    return [
        Figure(
            name=f"cost beside the network at {level}, batches of {_BATCH}",
            target=f"<= {_TARGET:.0%} of its passes",
            measured=(
                f"{cost.overhead:.1%}; {cost.milliseconds:.2f} ms an image, {cost.passes} passes"
            ),
            holds=cost.overhead <= _TARGET,
        )
        for level, cost in costs.items()
    ]
