"""How the statistics of fit images become a fusion, for one level or for a fold of a check."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from typing_extensions import override

from detector.jobs.fit_rows import FitRows, Kind
from detector.scoring import (
    Fusion,
    FusionName,
    LearntFusion,
    OneClassFusion,
    Statistics,
    one_class_witnesses,
)
from detector.scoring.classifiers import ClassifierName, TreeClassifier, classifier_of

__all__ = ["FusionFit", "LearntFit", "OneClassFit", "fusion_fit"]


class FusionFit(ABC):
    """Fits a fusion on the rows of the fit split; an immutable description, free of state."""

    @property
    @abstractmethod
    def learns_attacks(self) -> bool:
        """Whether attacks are seen in fitting."""

    @abstractmethod
    def fit(self, rows: FitRows, statistics: Statistics, *, seed: int) -> Fusion:
        """Fit a fusion.

        Args:
            rows: Statistics of the fit images, one column for each name.
            statistics: What the columns are.
            seed: Seed of what is random.

        Raises:
            CalibrationError: If there is no clean row, or none that is attacked where one is
                needed, or a statistic of clean images is not finite.
        """


@dataclass(frozen=True, slots=True)
class OneClassFit(FusionFit):
    """Fits `OneClassFusion` on clean rows alone."""

    @property
    @override
    def learns_attacks(self) -> bool:
        return False

    @override
    def fit(self, rows: FitRows, statistics: Statistics, *, seed: int) -> Fusion:
        witnesses = one_class_witnesses(statistics.copies)
        fusion = OneClassFusion(statistics.names, witnesses)
        return fusion.fit(rows.statistics[rows.are(Kind.CLEAN)]).eval()


@dataclass(frozen=True, slots=True)
class LearntFit(FusionFit):
    """Fits trees on clean, noisy and attacked rows.

    Args:
        classifier: Which trees.
    """

    classifier: TreeClassifier

    @property
    @override
    def learns_attacks(self) -> bool:
        return True

    @override
    def fit(self, rows: FitRows, statistics: Statistics, *, seed: int) -> Fusion:
        rows.require_attacks()
        trees = self.classifier.fit(rows.statistics, rows.attacked, weights=rows.weights, seed=seed)
        return LearntFusion(len(statistics.names), trees).eval()


def fusion_fit(name: FusionName, classifier: ClassifierName) -> FusionFit:
    """The fit that a name stands for.

    Args:
        name: Which fusion.
        classifier: Which trees, for the learnt one.
    """
    match name:
        case FusionName.ONE_CLASS:
            return OneClassFit()
        case FusionName.LEARNT:
            return LearntFit(classifier_of(classifier))
