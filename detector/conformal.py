r"""False-alarm guarantees per predicted class, from held-out clean images.

A score s of an image predicted as class c becomes a p-value against the n calibration images that
were predicted as c,

.. math:: p = \frac{1 + \#\{i: s_i \ge s\}}{n + 1},

and is flagged where :math:`p (n + 1) \le k`. With the *plain* rank
:math:`k = \lfloor \alpha (n + 1) \rfloor` at most a share alpha of clean images is flagged on
average over calibrations. With the smaller *PAC* rank the share of this one calibration is at
most alpha with the given confidence: with rank k the share is Beta(k, n + 1 - k) distributed,
whatever the scores are. Ties count against flagging.

Reference:
    Vovk, "Conditional validity of inductive conformal predictors", 2012.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import torch
from torch import Tensor

from detector.errors import CalibrationError, InvalidInputError

__all__ = [
    "ConformalTable",
    "Guarantee",
    "Promise",
    "minimum_images",
    "pac_rank",
    "plain_rank",
]

_SLACK = 1e-9
"""Budgets such as 1 / (n + 1) should do although they are rounded."""


def _check_budget(alpha: float, confidence: float = 0.5) -> None:
    for name, value in (("alpha", alpha), ("confidence", confidence)):
        if not 0 < value < 1:
            raise InvalidInputError(
                f"{name} should lie between 0 and 1, both excluded. Found {value:g}. "
                "Give a share, such as 0.05 for 5 %.",
                field=name,
            )


def plain_rank(n: int, alpha: float) -> int:
    """The largest rank that flags at most alpha of clean images on average over calibrations.

    Args:
        n: Number of calibration images.
        alpha: False-alarm budget in (0, 1).

    Returns:
        The rank; 0 where n is too small to flag anything.
    """
    _check_budget(alpha)
    return math.floor(alpha * (n + 1) + _SLACK)


@lru_cache(maxsize=4096)
def pac_rank(n: int, alpha: float, confidence: float = 0.95) -> int:
    """The largest rank k with P(Beta(k, n + 1 - k) <= alpha) >= confidence.

    By the duality of Beta and binomial it is the largest k for which more than k - 1 of n draws
    of chance alpha have at least that confidence, which needs no special function.

    Args:
        n: Number of calibration images.
        alpha: False-alarm budget in (0, 1).
        confidence: Share of calibrations that keep the budget, in (0, 1).

    Returns:
        The rank; 0 where n is too small to flag anything.
    """
    _check_budget(alpha, confidence)
    # Further below the mean than this, the binomial holds less than 1e-20.
    spread = 10 * math.sqrt(n * alpha * (1 - alpha)) + 10
    rank = max(0, math.floor(n * alpha - spread))
    allowed = (1 - confidence) * (1 + _SLACK)
    below = _binomial(n, rank, alpha)
    while below <= allowed and rank < n:
        rank += 1
        below += _binomial(n, rank, alpha)
    return rank


def _binomial(n: int, k: int, alpha: float) -> float:
    """Chance of exactly k of n."""
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(alpha) + (n - k) * math.log1p(-alpha))


class Guarantee(StrEnum):
    """What is promised about the false-alarm rate."""

    PAC = "pac"
    """With the given confidence, this very calibration flags at most alpha of clean images."""
    PLAIN = "plain"
    """On average over calibrations, at most alpha of clean images are flagged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Promise:
    """What a calibration promises, at any budget.

    Args:
        guarantee: Which of the two.
        confidence: Share of calibrations that keep the budget, in (0, 1); unused when plain.

    Raises:
        InvalidInputError: If the confidence is out of range.
    """

    guarantee: Guarantee = Guarantee.PAC
    confidence: float = 0.95

    def __post_init__(self) -> None:
        _check_budget(0.5, self.confidence)

    def rank(self, n: int, alpha: float) -> int:
        """How many of n + 1 places are flagged; 0 where n is too small for the budget."""
        if self.guarantee is Guarantee.PLAIN:
            return plain_rank(n, alpha)
        return pac_rank(n, alpha, self.confidence)

    def minimum_images(self, alpha: float) -> int:
        """The least number of calibration images of a class for a budget."""
        _check_budget(alpha)
        if self.guarantee is Guarantee.PLAIN:
            return math.ceil(1 / alpha - 1 - _SLACK / alpha)
        return math.ceil(math.log1p(-self.confidence) / math.log1p(-alpha) - _SLACK)

    def smallest_alpha(self, n: int) -> float:
        """The least budget that n calibration images can promise; 1 where there is none."""
        if n < 1:
            return 1.0
        if self.guarantee is Guarantee.PLAIN:
            return 1 / (n + 1)
        return -math.expm1(math.log1p(-self.confidence) / n)


def minimum_images(alpha: float, confidence: float = 0.95) -> int:
    """The least number of calibration images of a class for a budget under the PAC guarantee.

    Args:
        alpha: False-alarm budget in (0, 1).
        confidence: Share of calibrations that keep the budget, in (0, 1).
    """
    return Promise(confidence=confidence).minimum_images(alpha)


class ConformalTable:
    """Calibration scores per predicted class.

    Args:
        scores: Scores of clean images that nothing was fitted on, finite, shape (N,).
        predicted: Their predicted classes, int64 of shape (N,), in 0..K-1.
        classes: Number of classes, K.
        promise: What they promise.

    Raises:
        ValueError: If there is not one predicted class, of K, for each score.
        CalibrationError: If a score is not finite.
    """

    def __init__(
        self, scores: Tensor, predicted: Tensor, classes: int, *, promise: Promise
    ) -> None:
        known = (predicted >= 0) & (predicted < classes)
        if scores.ndim != 1 or scores.shape != predicted.shape or not bool(known.all()):
            raise ValueError(
                f"Calibration should have one of {classes} predicted classes for each score. "
                f"Found {tuple(scores.shape)} scores and {tuple(predicted.shape)} classes, "
                f"{int((~known).sum())} of them unknown."
            )
        scores = scores.to(torch.float32)
        if not bool(scores.isfinite().all()):
            count = int((~scores.isfinite()).sum())
            raise CalibrationError(
                f"Calibration scores should be finite. Found {count} of {len(scores)} that are "
                "not. Check the network's weights."
            )
        self.promise = promise
        self.scores = scores
        self.predicted = predicted
        self.counts = torch.bincount(predicted, minlength=classes)  # (K,)
        self._counts: list[int] = self.counts.tolist()  # plain numbers, as every verdict asks
        longest = max(1, int(self.counts.max()))
        # Padded below every score, so that the padding never counts.
        self._sorted = torch.full((classes, longest), -torch.inf)
        for label in range(classes):
            own = scores[predicted == label].sort().values
            self._sorted[label, longest - len(own) :] = own

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return len(self.counts)

    def require(self, alpha: float, class_names: Sequence[str]) -> None:
        """Refuse a budget that one of the classes cannot promise.

        Args:
            alpha: False-alarm budget in (0, 1).
            class_names: Name of each class.

        Raises:
            CalibrationError: If a class has too few calibration images.
            InvalidInputError: If the budget is out of range.
        """
        needed = self.promise.minimum_images(alpha)
        short = [
            f"{count} predicted as {name}"
            for name, count in zip(class_names, self.counts.tolist(), strict=True)
            if count < needed
        ]
        if short:
            raise CalibrationError(
                f"Each class should have at least {needed} clean calibration images for a budget "
                f"of {alpha:.3g} ({self.promise.guarantee}). Found {', '.join(short)}. "
                f"Extract more calibration images{self._larger_budget()}."
            )

    def _larger_budget(self) -> str:
        """The budget that all classes can promise, as an advice; nothing where there is none."""
        least = self.promise.smallest_alpha(int(self.counts.min()))
        if least >= 1:
            return ""
        return f", or allow a larger budget: {math.ceil(1000 * least) / 1000:g} can be promised"

    def p_values(self, scores: Tensor, predicted: Tensor) -> Tensor:
        """p-value of each image, in (0, 1].

        Args:
            scores: Shape (B,).
            predicted: Predicted classes, int64 of shape (B,).

        Returns:
            float64 of shape (B,); NaN where the score is not finite.
        """
        # In double precision, as `threshold` is: equal places have to compare as equal.
        places = self._places(scores, predicted).to(torch.float64)
        return torch.where(scores.isfinite(), places / (self.counts[predicted] + 1), torch.nan)

    def flags(self, scores: Tensor, predicted: Tensor, alpha: float) -> Tensor:
        """Whether each image is flagged at a budget; never where its class cannot promise it.

        Args:
            scores: Shape (B,).
            predicted: Predicted classes, int64 of shape (B,).
            alpha: False-alarm budget in (0, 1).

        Returns:
            bool of shape (B,); False where the score is not finite.
        """
        flagged = self._places(scores, predicted) <= self.ranks(alpha)[predicted]
        return flagged & scores.isfinite()

    def ranks(self, alpha: float) -> Tensor:
        """Rank of each class at a budget, int64 of shape (K,); 0 where it cannot promise it."""
        return torch.tensor([self.promise.rank(n, alpha) for n in self._counts])

    def threshold(self, predicted: int, alpha: float) -> float:
        """The largest p-value that is flagged in a class; 0 where it cannot promise the budget."""
        count = self._counts[predicted]
        return self.promise.rank(count, alpha) / (count + 1)

    def smallest_alpha(self, predicted: int) -> float:
        """The least budget that a class can promise; 1 where it has no calibration image."""
        return self.promise.smallest_alpha(self._counts[predicted])

    def _places(self, scores: Tensor, predicted: Tensor) -> Tensor:
        """1 + how many calibration images of the class are at least as suspicious, (B,)."""
        return 1 + (self._sorted[predicted] >= scores.unsqueeze(1)).sum(dim=1)
