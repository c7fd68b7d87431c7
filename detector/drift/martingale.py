"""Evidence that the scores of one level are no longer what was calibrated on."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detector.conformal import ConformalTable, plain_rank
from detector.drift.urn import Urn

__all__ = ["TestMartingale"]

_STRENGTHS = (0.25, 0.5, 1.0, 2.0)
"""Twice the one before each: whose strength is off by a half still wins most of what can be won."""

_MOST = 1e300
"""Capital beyond is given away, which no bet may gain by."""


class TestMartingale:
    r"""Bets against "scores come from the law that the calibration scores came from".

    In each window of `window` images that count, capital 1 is spread over bettors and begin times.
    A bettor multiplies its capital for an image in bin b of its class, of probability
    :math:`q_b` in the class's `Urn`, by

    .. math:: \frac{e^{\theta h(u_b)}}{\sum_a q_a e^{\theta h(u_a)}}, \qquad
              h(u) = 1 - 2 u \quad\text{or}\quad h(u) = 6 u^2 - 6 u + 1,

    with :math:`\theta` of either sign: towards more suspicious places or less, away from the middle
    or into it. Half of the capital belongs to bettors on all images, half to bettors on a single
    class, as drift may concern one class and the promise is for each. All win nothing on average:
    the total M of the j-th window is a nonnegative martingale with mean 1, and

    .. math:: P\left(\exists j, n: \frac{M_{j, n}}{j (j + 1)} \ge \frac{1}{\delta}\right) \le
              \sum_j \frac{\delta}{j (j + 1)} = \delta

    by Ville's inequality in each window. The probability is over the draw of the calibration images
    and of the whole stream, however long, for any number of calibration images, any mix of classes
    and any law of the scores, ties included. What is assumed is that within a class and a window
    the calibration images and the stream's are exchangeable. Which images are shown to it may
    depend on all that came before and on who sent them, not on their scores.

    Each window is held against calibration alone: with n calibration images the evidence is bounded
    by some n times the divergence of the two laws, however long the stream. So differences of the
    order of :math:`1 / \sqrt n`, which the promise cannot rule out either, go unnoticed, where they
    would be found in time if all of the past was kept.

    Images with a p-value of at most `least_p_value` are left out. Attacks live there; so drift that
    shows among them alone is not seen, nor is it while nearly all images fall there. Not seen
    either is what changes paths but no scores, and classes in other shares, for which the promise
    stays. Traffic that repeats itself, or that somebody picks by verdicts given before, such as
    images sent again to a dearer level because they were suspicious, is not exchangeable and may
    count as drift: the promise does not hold for it. Who shows images should leave out repeats; it
    is enough that none is shown twice in a window.

    Args:
        table: Calibration scores per predicted class.
        least_p_value: In (0, 1); images with a p-value of at most that do not count.
        random: Where lots for ties come from.
        window: Images that count after which all begins anew, at least 1.
        starts: Times in a window at which bets begin, in 1..window: drift has one of its own.

    Raises:
        ValueError: If window or starts is out of range.

    Reference:
        Ville, "Étude critique de la notion de collectif", 1939. Vovk, "Testing randomness online",
        Statistical Science 36, 2021. Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric
        framework for sequential change detection", 2024 (sums over begin times).
    """

    __test__ = False
    """Its name is the statisticians' word: pytest should not look into it for tests."""

    def __init__(
        self,
        table: ConformalTable,
        *,
        least_p_value: float,
        random: np.random.Generator,
        window: int = 10_000,
        starts: int = 100,
    ) -> None:
        if not 1 <= starts <= window:
            raise ValueError(
                f"starts should lie in 1..window. Found {starts} of a window of {window}."
            )
        self._random = random
        self._window = window
        self._begins = frozenset((np.arange(starts) * window // starts).tolist())
        self._urns = [
            Urn(
                table.scores[table.predicted == label].tolist(),
                left_out=plain_rank(count, least_p_value),
                random=random,
            )
            for label, count in enumerate(table.counts.tolist())
        ]
        self._stakes = [_stakes(urn.positions) for urn in self._urns]
        # First the bettors on all images, then those on each class.
        shares = np.array([0.5] + [0.5 / table.classes] * table.classes)
        bettors = len(self._stakes[0])
        self._begin = np.repeat(shares[:, None] / (bettors * starts), bettors, axis=1)
        self._capital = np.zeros_like(self._begin)
        self._waiting = starts
        self._windows = 1
        self._seen = 0

    @property
    def value(self) -> float:
        """Capital of this window, M, nothing subtracted for earlier windows."""
        return float(self._capital.sum()) + self._waiting / len(self._begins)

    @property
    def log_value(self) -> float:
        """Natural logarithm of M / (j (j + 1)), in the j-th window."""
        return math.log(self.value) - math.log(self._windows * (self._windows + 1))

    def observe(self, score: float, predicted: int) -> bool:
        """Settle the bets on an image.

        Args:
            score: Its score.
            predicted: Its predicted class.

        Returns:
            Whether it counts: its score is finite, and its p-value large enough.
        """
        if not math.isfinite(score):
            return False
        urn = self._urns[predicted]
        place = urn.bin_of(score, self._random.random())
        if place is None:
            return False
        if self._seen == self._window:
            self._begin_window()
        if self._seen in self._begins:
            self._capital += self._begin
            self._waiting -= 1
        stakes = self._stakes[predicted]
        gain = stakes[:, place] / (stakes @ urn.probabilities)
        for row in (0, 1 + predicted):
            np.minimum(self._capital[row] * gain, _MOST, out=self._capital[row])
        urn.add(place)
        self._seen += 1
        return True

    def _begin_window(self) -> None:
        for urn in self._urns:
            urn.forget()
        self._capital[:] = 0
        self._waiting = len(self._begins)
        self._windows += 1
        self._seen = 0


def _stakes(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each bettor puts on each bin, before it is made fair, shape (bettors, bins)."""
    lower = 1 - 2 * positions
    outer = 6 * positions**2 - 6 * positions + 1
    return np.exp(
        [sign * s * shape for shape in (lower, outer) for s in _STRENGTHS for sign in (1, -1)]
    )
