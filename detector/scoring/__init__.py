"""From paths to one score: layer scores, the features made of them, and trees on those.

`Stability` compares images with their copies; it stands beside them.

`detector.scoring.classifiers`, which fits the trees, is left out: it needs scikit-learn.
"""

from detector.scoring.bernoulli import BernoulliScore
from detector.scoring.features import PathFeatures, SuspicionFeatures
from detector.scoring.layer_score import LayerDeviation, LayerScore
from detector.scoring.mahalanobis import ActivationDistance, GateLogitDistance
from detector.scoring.stability import Stability
from detector.scoring.statistics import Moments, PathStatistics
from detector.scoring.suspicion import Suspicion, SuspicionScores
from detector.scoring.trees import TreeArrays, TreeEnsemble

__all__ = [
    "ActivationDistance",
    "BernoulliScore",
    "GateLogitDistance",
    "LayerDeviation",
    "LayerScore",
    "Moments",
    "PathFeatures",
    "PathStatistics",
    "Stability",
    "Suspicion",
    "SuspicionFeatures",
    "SuspicionScores",
    "TreeArrays",
    "TreeEnsemble",
]
