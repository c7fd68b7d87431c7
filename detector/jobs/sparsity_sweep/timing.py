"""What one image costs on one thread: the plain network, the decoupled one, and a verdict."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detector.decoupling.skipping import choose_plan
from detector.devices import threads
from detector.jobs.evaluation.estimates import Estimate
from detector.jobs.sparsity_sweep.report import Times
from detector.pipeline import LevelName, Pipeline

__all__ = ["measure_times", "skip_where_it_pays"]

_WARM_UPS = 5
_ROUNDS = 3
_TRIED = 8
_LARGEST_BATCH = 32
"""Skipping has to pay at this size too, as it has to where a server starts."""
_Way = Callable[[Tensor], object]


def measure_times(
    pipeline: Pipeline, plain: nn.Module, images: Tensor, *, replicates: int, seed: int
) -> Times:
    """Take the times of all ways in turn, image by image, in an order that goes round.

    All images are seen three times, and of each image and way the fastest run counts: what else
    the machine does only ever slows one down.

    Args:
        pipeline: The decoupled network and its level ``fast``, on the CPU.
        plain: The plain network, in evaluation mode.
        images: uint8 of shape (N, 3, H, W), at the size of the preprocessing, N positive.
        replicates: Bootstrap resamples of the images behind the intervals, at least 2.
        seed: Seed of the resamples.
    """
    plain = plain.to(memory_format=torch.channels_last)
    ways = _ways(pipeline, plain)
    seconds = np.full((len(images), len(ways)), np.inf)
    with threads(1), torch.inference_mode():
        for image in torch.split(images[:_WARM_UPS], 1):
            for way in ways:
                way(image)
        for row, image in enumerate(torch.split(images, 1) * _ROUNDS):
            for place in (*range(row % len(ways), len(ways)), *range(row % len(ways))):
                started = time.perf_counter()
                ways[place](image)
                spent = time.perf_counter() - started
                best = seconds[row % len(images)]
                best[place] = min(best[place], spent)
    ratios = seconds[:, 1:] / seconds[:, :1]
    drawn = np.random.default_rng(seed).integers(len(images), size=(replicates, len(images)))
    masked, served, verdict = (_median(column, drawn) for column in ratios.T)
    return Times(
        images=len(images),
        plain_ms=_median(1000 * seconds[:, 0], drawn),
        masked=masked,
        served=served,
        verdict=verdict,
    )


def skip_where_it_pays(pipeline: Pipeline, images: Tensor) -> None:
    """Let a pipeline run its network as a server would on one thread of this machine.

    Args:
        pipeline: On the CPU; it leaves out closed filters from now on if that is faster.
        images: uint8 of shape (N, 3, H, W), at the size of the preprocessing, N positive; the
            first eight are tried.
    """
    with threads(1):
        some = pipeline.prepared(images[:_TRIED])
        choice, network = choose_plan(pipeline.network, some, _LARGEST_BATCH)
    pipeline.skip(network if choice.pays else None)


def _ways(pipeline: Pipeline, plain: nn.Module) -> tuple[_Way, ...]:
    """Plain, masked, as the pipeline runs the network, and the pipeline with its verdict."""
    return (
        lambda image: plain(pipeline.prepared(image)),
        # Not what the pipeline runs: that may leave out what is closed.
        lambda image: pipeline.network(pipeline.prepared(image)),
        pipeline.observe,
        lambda image: pipeline.detect(pipeline.analyse(image, LevelName.FAST), 0),
    )


def _median(values: NDArray[np.float64], drawn: NDArray[np.int64]) -> Estimate:
    return Estimate.of_replicates(float(np.median(values)), np.median(values[drawn], axis=1))
