"""From what the network tells about images to one score for each.

`Score` is what every score keeps; `PathScores` are those of an image's own path, `Stability`
compares it with copies, a `Fusion` makes one score of all, and `Suspicion` is the whole of it.

`detector.scoring.classifiers`, which fits trees, is left out: it needs scikit-learn.
"""

from detector.scoring.bernoulli import BernoulliScore
from detector.scoring.confidence import Confidence
from detector.scoring.disagreement import Disagreement
from detector.scoring.evidence import PathEvidence, path_evidence
from detector.scoring.fusion import Fusion, FusionName, LearntFusion, OneClassFusion, Witness
from detector.scoring.layer_score import LayerDeviation, LayerScore
from detector.scoring.mahalanobis import ActivationDistance, GateLogitDistance
from detector.scoring.neighbours import HammingNeighbours, NearestImages
from detector.scoring.observation import Observation
from detector.scoring.path_scores import PathScores
from detector.scoring.score import CleanImages, Score
from detector.scoring.stability import Stability
from detector.scoring.statistics import Moments, PathStatistics
from detector.scoring.surprisal import Surprisal
from detector.scoring.suspicion import (
    Statistics,
    Suspicion,
    SuspicionScores,
    one_class_witnesses,
)
from detector.scoring.trees import TreeArrays, TreeEnsemble

__all__ = [
    "ActivationDistance",
    "BernoulliScore",
    "CleanImages",
    "Confidence",
    "Disagreement",
    "Fusion",
    "FusionName",
    "GateLogitDistance",
    "HammingNeighbours",
    "LayerDeviation",
    "LayerScore",
    "LearntFusion",
    "Moments",
    "NearestImages",
    "Observation",
    "OneClassFusion",
    "PathEvidence",
    "PathScores",
    "PathStatistics",
    "Score",
    "Stability",
    "Statistics",
    "Surprisal",
    "Suspicion",
    "SuspicionScores",
    "TreeArrays",
    "TreeEnsemble",
    "Witness",
    "one_class_witnesses",
    "path_evidence",
]
