"""The detector of one level as attackers see it, with a way for their gradients."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from detector.attacks.adaptive import SoftForest, Target
from detector.attacks.adaptive.target import ScoreOf
from detector.pipeline import Level, Pipeline
from detector.scoring import LearntFusion, Observation, Suspicion, TreeEnsemble

__all__ = ["target_of"]

_TEMPERATURE = 0.3
"""Of soft splits, in standard deviations of a statistic: the neighbours of a threshold see it."""
_LEAST_SPREAD = 1e-6


def target_of(pipeline: Pipeline, level: Level, images: Tensor) -> Target:
    """Network, score and thresholds of a level.

    Trees pass no gradient. Where the fusion is learnt, gradients go through soft trees on the same
    statistics instead; what counts as past the detector is said by the hard ones alone.

    Args:
        pipeline: The pipeline that is attacked.
        level: One of its levels.
        images: Clean images, which tell how far the statistics spread, uint8 of (B, 3, H, W), B at
            least 2.
    """
    suspicion = level.suspicion

    def score(seen: Observation) -> Tensor:
        return cast("Tensor", suspicion.fusion(suspicion.statistics(seen)))

    return Target(
        network=pipeline.network,
        preprocessing=pipeline.preprocessing,
        score=score,
        flags=level.conformal.flags,
        copies=level.copies,
        surrogate=_smooth_score(pipeline, suspicion, images),
    )


def _smooth_score(pipeline: Pipeline, suspicion: Suspicion, images: Tensor) -> ScoreOf | None:
    """What gradients go through in place of the score, where it has none."""
    if not isinstance(suspicion.fusion, LearntFusion):
        return None
    spread = _spread(pipeline, suspicion, images)
    forest = SoftForest(_rescaled(suspicion.fusion.trees, spread), _TEMPERATURE)

    def smooth(seen: Observation) -> Tensor:
        values = cast("Tensor", suspicion.statistics(seen))
        return cast("Tensor", forest(values / spread)).to(values.dtype)

    return smooth


@torch.no_grad()
def _spread(pipeline: Pipeline, suspicion: Suspicion, images: Tensor) -> Tensor:
    """Standard deviation of each statistic, (S,)."""
    values = cast("Tensor", suspicion.statistics(pipeline.observe(images, suspicion.copies)))
    return values.std(dim=0).clamp(min=_LEAST_SPREAD)


def _rescaled(trees: TreeEnsemble, spread: Tensor) -> TreeEnsemble:
    """The same trees, for statistics in units of their spread."""
    return TreeEnsemble(
        feature=trees.feature,
        threshold=trees.threshold / spread[trees.feature],
        left=trees.left,
        value=trees.value,
        roots=trees.roots,
        offset=trees.offset,
    )
