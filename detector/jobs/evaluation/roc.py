r"""How well scores tell attacked images from clean ones.

The area under the ROC curve is the chance that an attacked image scores higher than a clean one,
ties counting one half,

.. math:: A = \frac{1}{mn} \sum_{i, j} [s_i > s_j] + \tfrac12 [s_i = s_j].
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detector.conformal import plain_rank
from detector.errors import InvalidInputError
from detector.jobs.evaluation.arrays import checked_scores

__all__ = ["ROC_GRID", "auroc", "roc_curve", "threshold_at"]

ROC_GRID: Final = tuple(round(10 ** (step / 10), 6) for step in range(-40, 1))
"""False-alarm rates at which a report keeps the ROC curve: ten a decade, from 0.0001 to 1."""


def auroc(negatives: ArrayLike, positives: ArrayLike) -> float:
    """Area under the ROC curve, in [0, 1].

    Args:
        negatives: Scores of clean images, finite, shape (N,).
        positives: Scores of attacked images, finite, shape (M,).

    Raises:
        InvalidInputError: If one of them is empty or not finite.
    """
    clean = np.sort(checked_scores(negatives, "negatives"))
    attacked = checked_scores(positives, "positives")
    # Those below count twice, those equal once: whole numbers stay exact.
    twice = np.searchsorted(clean, attacked, "left") + np.searchsorted(clean, attacked, "right")
    return int(twice.sum()) / (2 * len(clean) * len(attacked))


def threshold_at(calibration: ArrayLike, budget: float) -> float:
    """The score above which an image is flagged so that at most a budget of clean images is.

    With k the plain conformal rank it is the k-th largest calibration score, all classes together;
    a score that equals it is not flagged.

    Args:
        calibration: Scores of clean calibration images, never of test images, shape (N,).
        budget: Share of clean images that may be flagged, in (0, 1).

    Returns:
        The threshold; infinite where there are too few images to flag any.

    Raises:
        InvalidInputError: If the scores are empty or not finite or the budget is out of range.
    """
    scores = np.sort(checked_scores(calibration, "calibration"))
    rank = plain_rank(len(scores), budget)
    return float(scores[-rank]) if rank else math.inf


def roc_curve(
    negatives: ArrayLike, positives: ArrayLike, grid: ArrayLike = ROC_GRID
) -> NDArray[np.float64]:
    """Share of attacked images found where at most a given share of *these* clean ones is flagged.

    For drawing only: its thresholds come from the negatives themselves.

    Args:
        negatives: Scores of clean images, finite, shape (N,).
        positives: Scores of attacked images, finite, shape (M,).
        grid: Shares of clean images that are flagged at most, each in [0, 1], shape (P,).

    Returns:
        float64 of shape (P,).

    Raises:
        InvalidInputError: If scores are empty or not finite or the grid leaves [0, 1].
    """
    clean = np.sort(checked_scores(negatives, "negatives"))
    attacked = np.sort(checked_scores(positives, "positives"))
    rates = checked_scores(grid, "grid")
    if rates.min() < 0 or rates.max() > 1:
        raise InvalidInputError(
            f"grid should lie within [0, 1]. Found {rates.min():g} to {rates.max():g}.",
            field="grid",
        )
    allowed = np.floor(rates * len(clean) + 1e-9).astype(np.int64)  # 0.07 * 100 is below 7
    thresholds = np.r_[-math.inf, clean][len(clean) - allowed]
    missed = np.searchsorted(attacked, thresholds, "right")
    return np.asarray(1 - missed / len(attacked), dtype=np.float64)
