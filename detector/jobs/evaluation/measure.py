"""From scores and flags to figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detector.errors import InvalidInputError
from detector.jobs.evaluation.arrays import checked_flags, checked_scores
from detector.jobs.evaluation.bootstrap import Bootstrapped, RankedNegatives, Resamples, mean_of
from detector.jobs.evaluation.estimates import Share
from detector.jobs.evaluation.false_alarms import FalseAlarms
from detector.jobs.evaluation.figures import (
    AttackFigures,
    Detection,
    EstimateAtBudget,
    ScoreFigures,
    ShareAtBudget,
    WorstAttack,
)
from detector.jobs.evaluation.roc import roc_curve, threshold_at

__all__ = ["AttackedImages", "measure_score"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AttackedImages:
    """All images that an attack was let loose on, always the same ones in the same order.

    Args:
        attack: Its label, as ``pgd:8/255``.
        scores: Their scores after the attack, finite, shape (M,).
        right_before: Whether each was classified right before, bool of shape (M,).
        success: Whether each was also classified wrong after, bool of shape (M,).
        flags: Whether each is flagged after the attack, bool of shape (M,), by the budgets that
            ship; empty for a score that does not ship.

    Raises:
        InvalidInputError: If the arrays do not fit each other.
    """

    attack: str
    scores: ArrayLike
    right_before: ArrayLike
    success: ArrayLike
    flags: Mapping[float, ArrayLike] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(checked_scores(self.scores, f"scores of {self.attack}"))
        right = checked_flags(self.right_before, "right_before", count)
        success = checked_flags(self.success, "success", count)
        for flags in self.flags.values():
            checked_flags(flags, "flags", count)
        if bool((success & ~right).any()):
            raise InvalidInputError(
                f"{self.attack} should succeed only on images that were classified right before. "
                f"Found {int((success & ~right).sum())} others.",
                field="success",
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Measured:
    """The figures of an attack, and the resamples behind them; none where it never succeeds."""

    figures: AttackFigures
    area: Bootstrapped | None = None
    found: Mapping[float, Bootstrapped] = field(default_factory=dict)


def measure_score(
    name: str,
    *,
    calibration: ArrayLike,
    negatives: ArrayLike,
    attacked: Sequence[AttackedImages],
    resamples: Resamples,
    budgets: Sequence[float],
    false_alarms: Sequence[FalseAlarms] = (),
    confidence: float = 0.95,
) -> ScoreFigures:
    """All figures of one score.

    Args:
        name: The score.
        calibration: Scores of clean calibration images, shape (C,); thresholds come from them.
        negatives: Scores of all clean test images that were not attacked, shape (N,).
        attacked: The attacks.
        resamples: What all scores of a run share, for N negatives and M attacked images.
        budgets: False-alarm budgets, each in (0, 1).
        false_alarms: False alarms of a score that ships.
        confidence: Of all intervals, in (0, 1).

    Raises:
        InvalidInputError: If the arrays do not fit each other or the resamples.
    """
    thresholds = {budget: threshold_at(calibration, budget) for budget in budgets}
    ranked = resamples.rank(negatives)
    measured = [_measure(each, ranked, thresholds, resamples, confidence) for each in attacked]
    areas = [each.area for each in measured if each.area is not None]
    return ScoreFigures(
        name=name,
        attacks=tuple(each.figures for each in measured),
        mean_auroc=mean_of(areas).estimate(confidence) if areas else None,
        worst=_worst(measured),
        mean_found=tuple(_mean_found(measured, budget, confidence) for budget in thresholds),
        false_alarms=tuple(false_alarms),
    )


def _measure(
    attacked: AttackedImages,
    negatives: RankedNegatives,
    thresholds: Mapping[float, float],
    resamples: Resamples,
    confidence: float,
) -> _Measured:
    right = checked_flags(attacked.right_before, "right_before")
    success = checked_flags(attacked.success, "success")
    figures = AttackFigures(
        attack=attacked.attack,
        images=len(right),
        success=Share.of_flags(success[right], confidence=confidence),
        detection=None,
        held=_shipped(attacked, right, ~success, confidence),
    )
    rows = np.flatnonzero(success)
    if not len(rows):
        return _Measured(figures=figures)
    scores = checked_scores(attacked.scores, "scores")[rows]
    area = negatives.auroc(scores, rows)
    hits = {b: scores > each for b, each in thresholds.items() if math.isfinite(each)}
    detection = Detection(
        auroc=area.estimate(confidence),
        found=tuple(
            ShareAtBudget(
                budget=budget,
                share=Share.of_flags(hits[budget], confidence=confidence)
                if budget in hits
                else None,
            )
            for budget in thresholds
        ),
        flagged=_shipped(attacked, success, np.zeros_like(success), confidence),
        roc=tuple(round(rate, 6) for rate in roc_curve(negatives.scores, scores).tolist()),
    )
    return _Measured(
        figures=replace(figures, detection=detection),
        area=area,
        found={budget: resamples.share(hit, rows) for budget, hit in hits.items()},
    )


def _shipped(
    attacked: AttackedImages,
    among: NDArray[np.bool_],
    harmless: NDArray[np.bool_],
    confidence: float,
) -> tuple[ShareAtBudget, ...]:
    """Share of some images that is flagged, or harmless anyway, by the budgets that ship."""
    return tuple(
        ShareAtBudget(
            budget=budget,
            share=Share.of_flags(
                (checked_flags(flags, "flags") | harmless)[among], confidence=confidence
            ),
        )
        for budget, flags in attacked.flags.items()
    )


def _worst(measured: Sequence[_Measured]) -> WorstAttack | None:
    found = [
        WorstAttack(attack=each.figures.attack, auroc=each.figures.detection.auroc)
        for each in measured
        if each.figures.detection is not None
    ]
    return min(found, key=lambda each: each.auroc.value, default=None)


def _mean_found(
    measured: Sequence[_Measured], budget: float, confidence: float
) -> EstimateAtBudget:
    found = [each.found[budget] for each in measured if budget in each.found]
    estimate = mean_of(found).estimate(confidence) if found else None
    return EstimateAtBudget(budget=budget, estimate=estimate)
