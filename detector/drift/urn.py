"""Where the next score of a class should fall, knowing its calibration and those before it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Urn"]

_BINS = 20
"""More would tell finer shapes of drift than a thousand images can show."""


class Urn:
    r"""The exact law of the places of new scores among n calibration scores: Pólya's urn.

    A new score's place, :math:`1 + \#\{i: s_i > s\}`, is one of n + 1 cells. Where calibration and
    stream are draws of one law, whatever it is, each cell holds one ball at first, the place is
    that of a ball drawn at random, and with each drawn ball another one is put into its cell. This
    is the law over calibration and stream together: n calibration images show the true law only up
    to some :math:`1 / \sqrt n`, and the urn knows that, as fixed probabilities
    :math:`1 / (n + 1)` would not. It stays exact where

    - cells are joined into bins, with as many balls as cells at first;
    - the first cells are left out, with all scores that fall there: the proportions are Dirichlet
      distributed, and what remains of such is so again;
    - ties are broken by lot, one for each score, kept.

    Args:
        scores: Calibration scores of one predicted class, any number of them, finite.
        left_out: Number of the first cells, those of the most suspicious places, that are left
            out; at most as many as there are scores.
        random: Where the lots come from; independent of all scores.

    Raises:
        ValueError: If more cells are to be left out than there are scores.

    Reference:
        Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2nd edition, 2022
        (smoothed p-values). Blackwell and MacQueen, "Ferguson Distributions via Pólya Urn
        Schemes", 1973.
    """

    def __init__(
        self, scores: Sequence[float], *, left_out: int, random: np.random.Generator
    ) -> None:
        if not 0 <= left_out <= len(scores):
            raise ValueError(
                f"The cells to leave out should be 0 to {len(scores)}, the number of scores. "
                f"Found {left_out}."
            )
        self._ordered = sorted(zip(scores, random.random(len(scores)).tolist(), strict=True))
        self._left_out = left_out
        cells = len(scores) + 1 - left_out
        self._bins = (np.arange(cells) * min(_BINS, cells) // cells).tolist()
        self._cells = np.bincount(self._bins).astype(np.float64)
        self._balls = self._cells.copy()
        self.positions: NDArray[np.float64] = (self._cells.cumsum() - self._cells / 2) / cells
        """Middle of each bin, in (0, 1): 0 is the most suspicious place that is not
        left out."""

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Probability of each bin for the next score that is not left out, given all before."""
        probabilities: NDArray[np.float64] = self._balls / self._balls.sum()
        return probabilities

    def bin_of(self, score: float, lot: float) -> int | None:
        """The bin of a new score; None where it is left out.

        Args:
            score: Higher is more suspicious; finite.
            lot: What breaks ties, uniform over [0, 1).
        """
        above = len(self._ordered) - bisect_left(self._ordered, (score, lot))
        return None if above < self._left_out else self._bins[above - self._left_out]

    def add(self, place: int) -> None:
        """Put another ball into a bin: a score fell there."""
        self._balls[place] += 1

    def forget(self) -> None:
        """Know nothing but the calibration again."""
        self._balls[:] = self._cells
