"""How long callers really wait, learnt from those that were let in: what a promise is worth."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from service.admission import DeadlineError

__all__ = ["WaitTimes"]

_GAIN = 0.05
"""Weight of one full batch: about the last twenty count, as many as a long queue is made of. Fewer
would all tell of one moment, as callers who wait in one queue wait for the same batches."""

_DEVIATIONS = 4.0
"""Mean deviations above the mean: one wait in a hundred or fewer is longer."""

_FIRST_DEVIATION = 0.1
"""Before anything is known. Batches timed before the first caller had the machine to themselves."""

_OUTLIER = 3.0
"""A wait counts as at most so many times the longest likely one: a machine that stood still for a
moment must not turn callers away for long."""

_DOUBT = 0.9


class WaitTimes:
    r"""Corrects estimates of waits, which know of batches alone, by what became of them.

    The same cores also read calls, decode images, write answers and turn callers away. With the
    ratio :math:`\rho` of a wait to its estimate, its mean m and its mean deviation d, both with
    exponential forgetting, an estimate t is likely to come to no more than

    .. math:: t \cdot \max(1, m + 4 d)

    An overloaded server lets in as many as it may, so that most callers wait about as long as they
    can: were the mean promised, every other promise would be broken.

    Args:
        now: Seconds since some fixed moment.

    Reference:
        Jacobson, "Congestion Avoidance and Control", SIGCOMM 1988.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._mean = 1.0
        self._deviation = _FIRST_DEVIATION

    def longest_s(self, estimate_s: float) -> float:
        """How long a wait is likely to take at most, seconds.

        Args:
            estimate_s: What the batches ahead and the own ones take, seconds.
        """
        return self._factor * estimate_s

    @contextlib.contextmanager
    def observed(self, estimate_s: float, *, left_s: float, weight: float) -> Iterator[None]:
        """Learn from how long the context is open, the wait of a caller that was let in.

        One that ran out of time would have waited longer than it could, and that is learnt in its
        place. What else goes wrong says nothing about the wait.

        Args:
            estimate_s: What was expected of it, seconds.
            left_s: Longest wait that would have been in time, seconds.
            weight: Share of a full batch that it counts as, in (0, 1].
        """
        began = self._now()
        try:
            yield
        except DeadlineError:
            self._learn(estimate_s, max(left_s, self._now() - began), weight)
            raise
        except asyncio.CancelledError:
            # Whoever goes away earlier has reasons of their own.
            if (waited_s := self._now() - began) >= left_s:
                self._learn(estimate_s, waited_s, weight)
            raise
        self._learn(estimate_s, self._now() - began, weight)

    def doubt(self) -> None:
        """Expect a little less: as long as all are turned away nothing is learnt."""
        self._mean = 1 + _DOUBT * (self._mean - 1)
        self._deviation *= _DOUBT

    @property
    def _factor(self) -> float:
        return max(1.0, self._mean + _DEVIATIONS * self._deviation)

    def _learn(self, estimate_s: float, waited_s: float, weight: float) -> None:
        if estimate_s <= 0:
            return
        ratio = min(waited_s / estimate_s, _OUTLIER * self._factor)
        gain = _GAIN * weight
        error = ratio - self._mean
        self._mean += gain * error
        self._deviation += gain * (abs(error) - self._deviation)
