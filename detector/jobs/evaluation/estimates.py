"""Figures with their intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaincinv

from detector.errors import InvalidInputError
from detector.jobs.evaluation.arrays import checked_flags

__all__ = ["Estimate", "Share", "chance_of_more", "clopper_pearson", "difference_of"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A figure and the interval around it.

    Args:
        value: The figure, as measured.
        low: Lower end of the interval.
        high: Its upper end.

    Raises:
        InvalidInputError: If one of them is not finite or the ends are the wrong way round.
    """

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.value, self.low, self.high))) or self.low > self.high:
            raise InvalidInputError(
                "An estimate should be finite, its interval the right way round. "
                f"Found {self.value:g} [{self.low:g}, {self.high:g}].",
                field="estimate",
            )

    @classmethod
    def of_replicates(cls, value: float, replicates: NDArray[np.float64]) -> Estimate:
        """A figure with the 95 % percentile interval of its resamples, widened to hold it.

        Args:
            value: The figure.
            replicates: The same of each resample, shape (R,); those that are not finite are left
                out, and where none is, the interval is the figure itself.
        """
        finite = replicates[np.isfinite(replicates)]
        low, high = np.quantile(finite, [0.025, 0.975]) if len(finite) else (value, value)
        # Of very few images no resample need lie on one side of the value.
        return cls(value=value, low=min(float(low), value), high=max(float(high), value))

    def contains(self, expected: float) -> bool:
        """Whether a value lies within the interval."""
        return self.low <= expected <= self.high


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """How many of some images, with the Clopper-Pearson interval of the share of all such images.

    Args:
        hits: How many.
        total: Of how many, positive.
        low: Lower end of the interval.
        high: Its upper end.

    Raises:
        InvalidInputError: If the numbers contradict each other.
    """

    hits: int
    total: int
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.total or not self.total:
            raise InvalidInputError(
                f"A share should be of at least one image. Found {self.hits} of {self.total}.",
                field="share",
            )
        if not 0 <= self.low <= self.rate <= self.high <= 1:
            raise InvalidInputError(
                f"The interval around {self.rate:g} should hold it and lie within [0, 1]. "
                f"Found [{self.low:g}, {self.high:g}].",
                field="share",
            )

    @property
    def rate(self) -> float:
        """The share itself, in [0, 1]."""
        return self.hits / self.total

    @property
    def estimate(self) -> Estimate:
        """The share as an estimate."""
        return Estimate(value=self.rate, low=self.low, high=self.high)

    @classmethod
    def of(cls, hits: int, total: int, *, confidence: float = 0.95) -> Share:
        """The share with its interval.

        Args:
            hits: How many.
            total: Of how many, positive.
            confidence: Of the two-sided interval, in (0, 1).
        """
        low, high = clopper_pearson(hits, total, confidence=confidence)
        return cls(hits=hits, total=total, low=low, high=high)

    @classmethod
    def of_flags(cls, flags: ArrayLike, *, confidence: float = 0.95) -> Share | None:
        """The share of images for which something is true; None where there is no image.

        Args:
            flags: bool of shape (N,).
            confidence: Of the two-sided interval, in (0, 1).
        """
        checked = checked_flags(flags, "flags")
        if not len(checked):
            return None
        return cls.of(int(np.count_nonzero(checked)), len(checked), confidence=confidence)


def clopper_pearson(hits: int, total: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of a share: at least as sure as it says, for every n.

    Args:
        hits: How many, in 0..total.
        total: Of how many, positive.
        confidence: In (0, 1).

    Raises:
        InvalidInputError: If a number is out of range.

    Reference:
        Clopper and Pearson, "The use of confidence or fiducial limits", Biometrika 1934.
    """
    if not 0 <= hits <= total or not total:
        raise InvalidInputError(
            f"A share should be of at least one image. Found {hits} of {total}.", field="share"
        )
    if not 0 < confidence < 1:
        raise InvalidInputError(
            f"confidence should lie between 0 and 1, both excluded. Found {confidence:g}.",
            field="confidence",
        )
    tail = (1 - confidence) / 2
    low = float(betaincinv(hits, total - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, total - hits, 1 - tail)) if hits < total else 1.0
    return low, high


def chance_of_more(hits: int, total: int, rate: float) -> float:
    """Chance of at least so many hits where each image is one with a given chance.

    Args:
        hits: How many, in 0..total.
        total: Of how many, positive.
        rate: Chance of a single hit, in (0, 1).
    """
    return float(betainc(hits, total - hits + 1, rate)) if hits else 1.0


def difference_of(first: Estimate, second: Estimate) -> Estimate:
    r"""By how much the first figure is larger, from the intervals of both.

    .. math:: d = a - b, \quad d_{low} = d - \sqrt{(a - a_{low})^2 + (b_{high} - b)^2}

    and likewise above. Figures that rise and fall together, as those of the same images mostly do,
    have a narrower interval than this one.

    Args:
        first: A figure.
        second: Another one, with an interval of the same confidence.

    Reference:
        Zou and Donner, "Construction of confidence limits about effect measures", 2008.
    """
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value=value, low=value - below, high=value + above)
