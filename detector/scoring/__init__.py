"""From paths to one score: layer scores, the features made of them, and trees on those.

`detector.scoring.classifiers`, which fits the trees, is left out: it needs scikit-learn.
"""

from detector.scoring.bernoulli import BernoulliScore
from detector.scoring.features import PathFeatures, SuspicionFeatures
from detector.scoring.layer_score import LayerDeviation, LayerScore
from detector.scoring.mahalanobis import ActivationDistance, GateLogitDistance
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
    "Suspicion",
    "SuspicionFeatures",
    "SuspicionScores",
    "TreeArrays",
    "TreeEnsemble",
]
