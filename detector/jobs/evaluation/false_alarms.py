"""Whether the false-alarm promise is kept on clean test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detector.errors import InvalidInputError
from detector.jobs.evaluation.arrays import checked_flags, checked_whole
from detector.jobs.evaluation.estimates import Share, chance_of_more

__all__ = ["ClassFalseAlarms", "FalseAlarms", "false_alarms"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassFalseAlarms:
    """False alarms among the clean images that are predicted as one class.

    Args:
        name: Name of the class.
        flagged: Share of them that is flagged; None where no image is predicted so.
        chance: Chance of at least so many false alarms if the budget were kept exactly, in [0, 1].
        keeps: Whether that chance leaves the promise standing.
    """

    name: str
    flagged: Share | None
    chance: float
    keeps: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class FalseAlarms:
    """False alarms at one budget.

    Args:
        budget: Share of clean images that may be flagged, in (0, 1).
        pooled: Share of all clean images that is flagged.
        correct: The same among those that the network classifies right; None where there is none.
        misclassified: The same among the others; None where there is none.
        classes: The same for each predicted class.
    """

    budget: float
    pooled: Share
    correct: Share | None
    misclassified: Share | None
    classes: tuple[ClassFalseAlarms, ...]

    @property
    def keeps(self) -> bool:
        """Whether the promise stands for every class."""
        return all(each.keeps for each in self.classes)

    @property
    def within(self) -> bool:
        """Whether no class was flagged more often than the budget on these very images."""
        found = [each.flagged.rate for each in self.classes if each.flagged is not None]
        return all(rate <= self.budget for rate in found)


def false_alarms(
    *,
    flags: ArrayLike,
    predicted: ArrayLike,
    labels: ArrayLike,
    class_names: Sequence[str],
    budget: float,
    confidence: float = 0.95,
) -> FalseAlarms:
    """Count false alarms and test the promise, class by class.

    A class breaks its promise where so many false alarms would have at most the chance
    (1 - confidence) / K if it were kept: among K classes that all keep theirs, none is blamed with
    at least the confidence (Bonferroni).

    Args:
        flags: Which clean test images are flagged at the budget, bool of shape (N,).
        predicted: Their predicted classes, in 0..K-1, shape (N,).
        labels: Their true classes, in 0..K-1, shape (N,).
        class_names: Name of each class, K of them.
        budget: Share of clean images that may be flagged, in (0, 1).
        confidence: Of the intervals and of the test, in (0, 1).

    Raises:
        InvalidInputError: If the arrays do not fit each other or a number is out of range.
    """
    flagged = checked_flags(flags, "flags")
    classes = checked_whole(predicted, "predicted", len(flagged))
    right = classes == checked_whole(labels, "labels", len(flagged))
    if not 0 < budget < 1:
        raise InvalidInputError(
            f"budget should lie between 0 and 1, both excluded. Found {budget:g}.", field="budget"
        )
    if len(classes) and int(classes.max()) >= len(class_names):
        raise InvalidInputError(
            f"predicted should name one of {len(class_names)} classes. Found {int(classes.max())}.",
            field="predicted",
        )
    return FalseAlarms(
        budget=budget,
        pooled=Share.of(int(flagged.sum()), len(flagged), confidence=confidence),
        correct=Share.of_flags(flagged[right], confidence=confidence),
        misclassified=Share.of_flags(flagged[~right], confidence=confidence),
        classes=tuple(
            _of_class(name, flagged[classes == label], budget, confidence, len(class_names))
            for label, name in enumerate(class_names)
        ),
    )


def _of_class(
    name: str, flagged: NDArray[np.bool_], budget: float, confidence: float, classes: int
) -> ClassFalseAlarms:
    share = Share.of_flags(flagged, confidence=confidence)
    chance = 1.0 if share is None else chance_of_more(share.hits, share.total, budget)
    return ClassFalseAlarms(
        name=name, flagged=share, chance=chance, keeps=chance > (1 - confidence) / classes
    )
