"""Shares of images with exact intervals, and exact comparisons of two on the same images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Share", "chance_of_lead"]

_HALVINGS = 50
"""Of an interval's end: to 1e-15, far below what a report prints."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """So many of so many images.

    Args:
        hits: How many, in 0..total.
        total: Of how many.

    Raises:
        ValueError: If there cannot be so many.
    """

    hits: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.total:
            raise ValueError(f"hits should lie in 0..{self.total}. Found {self.hits}.")

    @classmethod
    def of(cls, mask: Tensor) -> Share:
        """The share of True in a bool tensor of shape (N,)."""
        return cls(hits=int(mask.sum()), total=len(mask))

    @property
    def rate(self) -> float:
        """The share itself, in [0, 1]; NaN of no images."""
        return self.hits / self.total if self.total else math.nan

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Both ends of the Clopper-Pearson interval, in [0, 1].

        Args:
            confidence: How often such intervals hold the true share, at least, in (0, 1).
        """
        tail = (1 - confidence) / 2
        low = _root(lambda chance: _at_least(self.hits, self.total, chance) > tail)
        missing = self.total - self.hits
        high = 1 - _root(lambda chance: _at_least(missing, self.total, chance) > tail)
        return (low if self.hits else 0.0, high if missing else 1.0)

    def chance_of_so_few(self, chance: float) -> float:
        """How likely at most so many hits are where each image has this chance, in [0, 1]."""
        return _at_least(self.total - self.hits, self.total, 1 - chance)

    def to_json(self) -> dict[str, Any]:
        """Counts, rate and the 95 % interval as plain JSON values."""
        rate = self.rate if self.total else None
        return {
            "hits": self.hits,
            "total": self.total,
            "rate": rate,
            "interval": list(self.interval()),
        }


def chance_of_lead(leader: Tensor, other: Tensor) -> float:
    """How likely the leader is that far ahead on the same images where neither is better.

    The exact sign test on the images where the two differ: with w of n for the leader the chance
    of at least w heads in n tosses; 1 where they never differ.

    Args:
        leader: What came of each image one way, bool of shape (N,).
        other: What came of it another way, bool of shape (N,).
    """
    wins, losses = int((leader & ~other).sum()), int((other & ~leader).sum())
    return _at_least(wins, wins + losses, 0.5)


def _at_least(hits: int, total: int, chance: float) -> float:
    """Chance of at least so many hits."""
    if hits <= 0 or chance >= 1:
        return 1.0
    if chance <= 0:
        return 0.0
    counts = torch.arange(hits, total + 1, dtype=torch.float64)
    ways = math.lgamma(total + 1) - torch.lgamma(counts + 1) - torch.lgamma(total - counts + 1)
    terms = ways + counts * math.log(chance) + (total - counts) * math.log1p(-chance)
    return min(1.0, float(terms.exp().sum()))


def _root(reached: Callable[[float], bool]) -> float:
    """The chance in [0, 1] from which on a growing condition holds."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return (low + high) / 2
