"""How long batches take, learnt from those that ran: what the estimate of a wait stands on."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ["BatchTimes"]

_FORGETTING = 0.9
"""Weight of a batch after each later one: about the last ten count."""

_OUTLIER = 3.0
"""A batch counts as at most so many times what was expected: one that met a page fault or a busy
core must not turn callers away, while a machine that did become slow shows it in a few batches."""

_LEAST_SPREAD = 0.01
"""Variance of the sizes, as a share of their squared mean, below which they tell no slope."""

_DOUBT = 0.9


class BatchTimes:
    r"""For each key, the line :math:`t(n) = a n + b` through the times of its batches.

    Least squares with exponential forgetting, neither a nor b below zero. Where all sizes of late
    were much the same, they tell the height of the line and not its slope: the known line is scaled
    then.

    Args:
        keys: All keys that there are.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._lines = {key: _Line() for key in keys}

    def learn(self, key: str, size: int, seconds: float) -> None:
        """Take note of a batch.

        Args:
            key: Its key.
            size: Its size with padding, at least 1.
            seconds: How long it took, at least 0.
        """
        self._lines[key].learn(size, seconds)

    def expected_s(self, key: str, size: int) -> float:
        """How long a batch of a size is likely to take, seconds; 0 where no batch of the key ran.

        Args:
            key: Its key.
            size: Its size with padding, at least 1.
        """
        return self._lines[key].at(size)

    def doubt(self, key: str) -> None:
        """Expect a little less of a key: an estimate that turns callers away must not err for good.

        Whom it turns away no batch is run for, so that nothing else would put it right. The next
        batch tells whether the estimate or the doubt was right.
        """
        self._lines[key].doubt()


class _Line:
    """Sums with forgetting over points (n, t), and the line through them."""

    def __init__(self) -> None:
        self._weight = 0.0
        self._n = 0.0
        self._t = 0.0
        self._nn = 0.0
        self._nt = 0.0
        self._slope = 0.0
        self._offset = 0.0
        self._trust = 1.0

    def at(self, size: int) -> float:
        return self._trust * (self._slope * size + self._offset)

    def doubt(self) -> None:
        self._trust *= _DOUBT

    def learn(self, size: int, seconds: float) -> None:
        trust, self._trust = self._trust, 1.0
        if (expected := self.at(size)) > 0:
            seconds = min(seconds, _OUTLIER * expected)
            self._scale(min(1.0, max(trust, seconds / expected)) if trust < 1 else 1.0)
        keep = _FORGETTING
        self._weight = keep * self._weight + 1
        self._n = keep * self._n + size
        self._t = keep * self._t + seconds
        self._nn = keep * self._nn + size * size
        self._nt = keep * self._nt + size * seconds
        self._fit()

    def _scale(self, factor: float) -> None:
        self._t *= factor
        self._nt *= factor
        self._slope *= factor
        self._offset *= factor

    def _fit(self) -> None:
        mean_n, mean_t = self._n / self._weight, self._t / self._weight
        spread = self._nn / self._weight - mean_n * mean_n
        if spread <= _LEAST_SPREAD * mean_n * mean_n:
            self._move_to(mean_n, mean_t)
            return
        slope = (self._nt / self._weight - mean_n * mean_t) / spread
        # Of the lines that go up from zero or above, the one that fits best lies on the edge.
        if slope < 0:
            slope, offset = 0.0, mean_t
        elif (offset := mean_t - slope * mean_n) < 0:
            slope, offset = self._nt / self._nn, 0.0
        self._slope, self._offset = slope, offset

    def _move_to(self, mean_n: float, mean_t: float) -> None:
        """Keep the shape of the line, and let it pass through a point."""
        known = self._slope * mean_n + self._offset
        if known > 0 and math.isfinite(mean_t / known):
            self._slope *= mean_t / known
            self._offset *= mean_t / known
        else:
            self._slope, self._offset = mean_t / mean_n, 0.0
