"""The figures of one score: how well it finds each attack, and whom it blames without cause."""

from __future__ import annotations

from dataclasses import dataclass

from detector.jobs.evaluation.estimates import Estimate, Share
from detector.jobs.evaluation.false_alarms import FalseAlarms

__all__ = [
    "AttackFigures",
    "Detection",
    "EstimateAtBudget",
    "ScoreFigures",
    "ShareAtBudget",
    "WorstAttack",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShareAtBudget:
    """A share of images at a false-alarm budget.

    Args:
        budget: Share of clean images that may be flagged, in (0, 1).
        share: The share; None where calibration is too small for the budget.
    """

    budget: float
    share: Share | None


@dataclass(frozen=True, kw_only=True, slots=True)
class EstimateAtBudget:
    """A figure at a false-alarm budget.

    Args:
        budget: Share of clean images that may be flagged, in (0, 1).
        estimate: The figure; None where calibration is too small for the budget.
    """

    budget: float
    estimate: Estimate | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """How well the images of an attack that succeeded are found.

    Args:
        auroc: Area under the ROC curve against clean images that were not attacked.
        found: Share found with the score alone, at thresholds from calibration images of all
            classes together: what compares scores with each other.
        flagged: Share flagged with the thresholds of each class that ship; empty for a score
            that does not ship.
        roc: Share found at each false-alarm rate of the report's grid, for drawing.
    """

    auroc: Estimate
    found: tuple[ShareAtBudget, ...]
    flagged: tuple[ShareAtBudget, ...]
    roc: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackFigures:
    """What an attack did, and what became of it.

    Args:
        attack: Its label, as ``pgd:8/255``.
        images: Number of images that it was let loose on.
        success: Share of those classified right before that are wrong after rounding to 8 bits;
            None where all were wrong before.
        detection: How well its successes are found; None where there are none.
        held: Share, of the same images as for success, that is flagged or still classified right;
            empty for a score that does not ship.
    """

    attack: str
    images: int
    success: Share | None
    detection: Detection | None
    held: tuple[ShareAtBudget, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class WorstAttack:
    """The attack with the smallest area under the ROC curve.

    Args:
        attack: Its label.
        auroc: Its area, with its own interval.
    """

    attack: str
    auroc: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreFigures:
    """All figures of one score.

    Args:
        name: The score: a fusion that ships, or a baseline.
        attacks: Its figures for each attack.
        mean_auroc: Mean area over the attacks that succeed at all; None where none does.
        worst: The attack that is found worst; None where none succeeds.
        mean_found: Mean share found over the same attacks, at each budget.
        false_alarms: False alarms at each budget that ships; empty for other scores.
    """

    name: str
    attacks: tuple[AttackFigures, ...]
    mean_auroc: Estimate | None
    worst: WorstAttack | None
    mean_found: tuple[EstimateAtBudget, ...]
    false_alarms: tuple[FalseAlarms, ...] = ()
