"""One verdict on all traffic: whether it has drifted from what was calibrated on."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from detector.conformal import ConformalTable
from detector.drift.martingale import TestMartingale

__all__ = ["DriftMonitor"]

_LEAST_P_VALUE = 0.2
"""Some attacks leave one image in three or four unflagged at a budget of 0.05, with p-values just
above it. Drift is seen nearly as well in the other four fifths."""


class DriftMonitor:
    r"""An alarm that clean traffic ever raises with a probability of at most delta.

    Each of L levels has a martingale of its own, as their calibrations are of the same images and
    not independent; each may use up a share of :math:`\delta / L`. The alarm stays once raised.

    Args:
        tables: Calibration of each level, at least one.
        alpha: Largest false-alarm budget, in (0, 1); images that it flags never count.
        delta: Probability of a false alarm, ever, in (0, 1).
        seed: Fixes how ties are broken, not negative.

    Raises:
        ValueError: If there is no level, or delta is out of range.
    """

    def __init__(
        self, tables: Mapping[str, ConformalTable], *, alpha: float, delta: float, seed: int = 0
    ) -> None:
        if not tables or not 0 < delta < 1:
            raise ValueError(
                "There should be at least one level, and delta in (0, 1). "
                f"Found {len(tables)} and {delta}."
            )
        random = np.random.default_rng(seed)
        self._levels = {
            name: TestMartingale(table, least_p_value=max(alpha, _LEAST_P_VALUE), random=random)
            for name, table in tables.items()
        }
        self.log_threshold = -math.log(delta)
        """Least logarithm that is an alarm."""
        self.images = 0
        """Images that counted."""
        self.log_martingale = max(map(self._log_of, self._levels))
        """Natural logarithm of the strongest evidence so far, at any level."""

    @property
    def alarm(self) -> bool:
        """Whether the traffic has drifted."""
        return self.log_martingale >= self.log_threshold

    def observe(self, level: str, score: float, predicted: int) -> bool:
        """Weigh an image.

        Args:
            level: The level that judged it.
            score: Its score.
            predicted: Its predicted class.

        Returns:
            Whether it counts.
        """
        if not self._levels[level].observe(score, predicted):
            return False
        self.images += 1
        self.log_martingale = max(self.log_martingale, self._log_of(level))
        return True

    def _log_of(self, level: str) -> float:
        return self._levels[level].log_value - math.log(len(self._levels))
