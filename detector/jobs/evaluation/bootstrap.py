r"""Bootstrap intervals: how far figures would move with other images of the same kind.

All figures of a run share the same resamples. Clean and attacked images are drawn apart, and an
attacked image is drawn with all that the attacks made of it, so that means over attacks and
differences between scores keep the dependence that they have. An area is computed from weights,

.. math:: A_r = \frac{\sum_i w_{ri} (F_r(s_i^-) + F_r(s_i)) / 2}{\sum_i w_{ri}},

with :math:`F_r` the distribution of the r-th resample of the clean scores and :math:`w_{ri}` how
often the image behind the i-th positive was drawn: no resample is ever sorted again.

Reference:
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detector.errors import InvalidInputError
from detector.jobs.evaluation.arrays import checked_flags, checked_scores, checked_whole
from detector.jobs.evaluation.estimates import Estimate, clopper_pearson

__all__ = ["Bootstrapped", "RankedNegatives", "Resamples", "difference", "mean_of"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bootstrapped:
    """A figure in [0, 1] and what it was in each resample.

    Args:
        value: The figure itself.
        replicates: Its value in each resample, shape (R,); NaN where none of its images was drawn.
        trials: Number of independent trials behind it: pairs of a clean and an attacked image, or
            images.
    """

    value: float
    replicates: NDArray[np.float64]
    trials: int

    def estimate(self, confidence: float = 0.95) -> Estimate:
        """The figure with its percentile interval.

        At exactly 0 or 1 all resamples agree, however few images there are. The interval is then
        that of as many independent trials which all came out alike.

        Args:
            confidence: Of the two-sided interval, in (0, 1).
        """
        if self.value in {0.0, 1.0}:
            hits = self.trials if self.value else 0
            low, high = clopper_pearson(hits, self.trials, confidence=confidence)
        else:
            low, high = _quantiles(self.replicates, confidence)
        return Estimate(value=self.value, low=low, high=high)

    def normal_estimate(self, confidence: float) -> Estimate:
        """The figure with an interval from its standard error, for a confidence near 1.

        Quantiles so far out would rest on a handful of resamples.

        Args:
            confidence: Of the two-sided interval, in (0, 1).
        """
        half = NormalDist().inv_cdf((1 + confidence) / 2) * float(np.nanstd(self.replicates))
        return Estimate(value=self.value, low=self.value - half, high=self.value + half)


class Resamples:
    """Which images each resample draws, shared by all figures of a run.

    Args:
        negatives: Number of clean images that nothing was done to, positive.
        images: Number of images that were attacked, positive.
        replicates: Number of resamples, R, at least 2.
        seed: Seed of the draws.

    Raises:
        InvalidInputError: If a number is too small.
    """

    def __init__(self, *, negatives: int, images: int, replicates: int, seed: int) -> None:
        for name, value, least in (
            ("negatives", negatives, 1),
            ("images", images, 1),
            ("replicates", replicates, 2),
        ):
            if value < least:
                raise InvalidInputError(
                    f"{name} should be at least {least}. Found {value}.", field=name
                )
        generator = np.random.default_rng(seed)
        self._negatives = _draw(negatives, replicates, generator)  # (R, N)
        self._images = _draw(images, replicates, generator)  # (R, M)

    @property
    def images(self) -> int:
        """Number of images that were attacked."""
        return int(self._images.shape[1])

    def rank(self, negatives: ArrayLike) -> RankedNegatives:
        """The clean scores, made ready for comparing any attacked scores with them.

        Args:
            negatives: Scores of the clean images in their order, finite, shape (N,).

        Raises:
            InvalidInputError: If they are not so.
        """
        scores = checked_scores(negatives, "negatives")
        if len(scores) != self._negatives.shape[1]:
            raise InvalidInputError(
                f"negatives should be {self._negatives.shape[1]} scores. Found {len(scores)}.",
                field="negatives",
            )
        return RankedNegatives(self, scores)

    def share(self, hits: ArrayLike, images: ArrayLike) -> Bootstrapped:
        """A share of attacked images, for means of shares over attacks.

        Args:
            hits: Of which images something is true, bool of shape (P,), P positive.
            images: Which of the attacked images they are, whole numbers of shape (P,).

        Raises:
            InvalidInputError: If they are not so.
        """
        flags = checked_flags(hits, "hits")
        weights = self.weights(images, len(flags))  # (R, P)
        return Bootstrapped(
            value=float(flags.mean()),
            replicates=_ratio(weights @ flags.astype(np.int64), weights.sum(axis=1)),
            trials=len(flags),
        )

    def weights(self, images: ArrayLike, length: int) -> NDArray[np.int64]:
        """How often each resample draws some of the attacked images, (R, P).

        Args:
            images: Which, whole numbers of shape (P,).
            length: P, how many they should be, positive.

        Raises:
            InvalidInputError: If they are not so.
        """
        numbers = checked_whole(images, "images", length)
        if not length or int(numbers.max()) >= self.images:
            raise InvalidInputError(
                f"images should name at least one of the {self.images} attacked images. "
                f"Found {int(numbers.max()) if length else 'none'}.",
                field="images",
            )
        return self._images[:, numbers].astype(np.int64)

    def cumulated(self, order: NDArray[np.int64]) -> NDArray[np.int32]:
        """How many of the first clean images in an order each resample draws, (R, N + 1)."""
        total = np.zeros((len(self._negatives), len(order) + 1), dtype=np.int32)
        np.cumsum(self._negatives[:, order], axis=1, out=total[:, 1:], dtype=np.int32)
        return total


class RankedNegatives:
    """Clean scores in order, with the places that each resample gives them; see `Resamples.rank`.

    Args:
        resamples: Which images each resample draws.
        scores: Checked clean scores, shape (N,).
    """

    def __init__(self, resamples: Resamples, scores: NDArray[np.float64]) -> None:
        order = np.argsort(scores, kind="stable")
        self.scores = scores
        self._resamples = resamples
        self._sorted = scores[order]
        self._places = resamples.cumulated(order)

    def auroc(self, positives: ArrayLike, images: ArrayLike) -> Bootstrapped:
        """Area under the ROC curve, with its resamples.

        Args:
            positives: Scores of attacked images, finite, shape (P,), P positive.
            images: Which of the attacked images they are, whole numbers of shape (P,).

        Raises:
            InvalidInputError: If they are not so.
        """
        scores = checked_scores(positives, "positives")
        weights = self._resamples.weights(images, len(scores))
        below = np.searchsorted(self._sorted, scores, "left")
        upto = np.searchsorted(self._sorted, scores, "right")
        twice = self._places[:, below] + self._places[:, upto]  # (R, P)
        negatives = len(self._sorted)
        return Bootstrapped(
            value=int((below + upto).sum()) / (2 * negatives * len(scores)),
            replicates=_ratio(
                np.einsum("rp,rp->r", weights, twice, dtype=np.int64),
                2 * negatives * weights.sum(axis=1),
            ),
            # So many pairs share no image, so that they are independent of each other.
            trials=min(negatives, len(scores)),
        )


def mean_of(parts: Sequence[Bootstrapped]) -> Bootstrapped:
    """The mean of figures from the same resamples.

    Args:
        parts: At least one.
    """
    return Bootstrapped(
        value=float(np.mean([part.value for part in parts])),
        replicates=np.mean([part.replicates for part in parts], axis=0),
        trials=min(part.trials for part in parts),
    )


def difference(first: Bootstrapped, second: Bootstrapped, confidence: float = 0.95) -> Estimate:
    """By how much the first figure is larger, both from the same resamples.

    Args:
        first: A figure.
        second: Another one.
        confidence: Of the two-sided interval, in (0, 1).
    """
    low, high = _quantiles(first.replicates - second.replicates, confidence)
    return Estimate(value=first.value - second.value, low=low, high=high)


def _draw(size: int, replicates: int, generator: np.random.Generator) -> NDArray[np.uint16]:
    """How often each of some images is drawn in each resample, (R, size)."""
    counts = np.empty((replicates, size), dtype=np.uint16)
    for row in counts:
        row[:] = np.bincount(generator.integers(size, size=size), minlength=size)
    return counts


def _ratio(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Their ratios; NaN where the whole is 0."""
    ratios = np.full(len(parts), np.nan)
    np.divide(parts, wholes, out=ratios, where=wholes > 0)
    return ratios


def _quantiles(replicates: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(replicates, [tail, 1 - tail])
    return float(low), float(high)
