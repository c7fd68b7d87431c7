"""Detectors of the literature that Offpath is compared with, one number an image.

They stand on the same observations as Offpath's own scores, of a decoupled network or of a plain
one (`detector.decoupling.always_open`), and learn from clean images alone. Trees on path bits, the
first detector of decoupled networks, are among `detector.scoring.classifiers`.
"""

from detector.baselines.baseline import Baseline
from detector.baselines.collection import all_baselines
from detector.baselines.energy import Energy
from detector.baselines.feature_squeezing import SQUEEZERS, FeatureSqueezing
from detector.baselines.intrinsic_dimensionality import LocalIntrinsicDimensionality
from detector.baselines.layerwise import LayerwiseBaseline
from detector.baselines.mahalanobis import LeeMahalanobis
from detector.baselines.max_softmax import MaxSoftmax, ReversedMaxSoftmax
from detector.baselines.nearest_neighbours import NearestNeighbours

__all__ = [
    "SQUEEZERS",
    "Baseline",
    "Energy",
    "FeatureSqueezing",
    "LayerwiseBaseline",
    "LeeMahalanobis",
    "LocalIntrinsicDimensionality",
    "MaxSoftmax",
    "NearestNeighbours",
    "ReversedMaxSoftmax",
    "all_baselines",
]
