"""All baselines at once."""

from __future__ import annotations

from detector.baselines.baseline import Baseline
from detector.baselines.energy import Energy
from detector.baselines.feature_squeezing import SQUEEZERS, FeatureSqueezing
from detector.baselines.intrinsic_dimensionality import LocalIntrinsicDimensionality
from detector.baselines.mahalanobis import LeeMahalanobis
from detector.baselines.max_softmax import MaxSoftmax, ReversedMaxSoftmax
from detector.baselines.nearest_neighbours import NearestNeighbours
from detector.paths import PathLayout

__all__ = ["all_baselines"]


def all_baselines(
    layout: PathLayout, classes: int, *, squeezers: tuple[str, ...] = SQUEEZERS
) -> tuple[Baseline, ...]:
    """A fresh one of each, to be fitted.

    Args:
        layout: Which gates belong to which layer.
        classes: Number of classes, K, at least 2.
        squeezers: Copies for feature squeezing; without any, it is left out.
    """
    baselines: list[Baseline] = [
        MaxSoftmax(layout, classes),
        ReversedMaxSoftmax(layout, classes),
        Energy(layout, classes),
        LeeMahalanobis(layout, classes),
        LocalIntrinsicDimensionality(layout, classes),
        NearestNeighbours(layout, classes),
    ]
    if squeezers:
        baselines.append(FeatureSqueezing(layout, classes, copies=squeezers))
    return tuple(baselines)
