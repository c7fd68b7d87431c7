r"""Judges images by a calibrated level, each image by one that has not seen it.

Scores of two fusions do not compare. Each score is therefore told as its *place*: the share of
the calibration images, scored by the same fusion, that it exceeds,

.. math:: u(x) = \frac{1}{n} \#\{i: s_i < s(x)\}.

A threshold on places at the k-th largest calibration place flags the very images that a threshold
on scores at the k-th largest calibration score flags, and places of all folds stand on one scale.
Above all calibration scores, by d, places go on as :math:`1 + d / (n (1 + d))`, so that what lies
there does not tie.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from detector.conformal import ConformalTable
from detector.jobs.evaluation.contenders import Contender
from detector.jobs.evaluation.measured_images import MeasuredImages

__all__ = ["Judged", "Panel"]

_T = TypeVar("_T", np.bool_, np.float64)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judged:
    """Images with the scores of their judges, which are the same whatever calibrates these.

    Args:
        judges: The judges.
        judge_of: Place of each image's judge among them, whole numbers of shape (N,).
        scores: Score of each image by its judge, shape (N,).
        predicted: Predicted classes, int64 of shape (N,).
    """

    judges: Sequence[Contender]
    judge_of: NDArray[np.int64]
    scores: NDArray[np.float64]
    predicted: NDArray[np.int64]

    def places(self) -> NDArray[np.float64]:
        """Place of each image among the calibration images, in [0, 1 + 1 / n), shape (N,)."""
        return self._together(
            [_places(judge.level.conformal, self.scores[mine]) for judge, mine in self._shares()]
        )

    def flags(self, budgets: Sequence[float]) -> dict[float, NDArray[np.bool_]]:
        """Which images are flagged at each budget that every class of every judge can promise."""
        found = [
            judge.flags_of(self.scores[mine], self.predicted[mine], budgets)
            for judge, mine in self._shares()
        ]
        return {
            budget: self._together([flags[budget] for flags in found])
            for budget in budgets
            if all(budget in flags for flags in found)
        }

    def rows(self, chosen: NDArray[np.bool_]) -> Judged:
        """Some of the images, by a mask."""
        return replace(
            self,
            judge_of=self.judge_of[chosen],
            scores=self.scores[chosen],
            predicted=self.predicted[chosen],
        )

    def with_calibration(self, chosen: NDArray[np.int64]) -> Judged:
        """The same judges, calibrated on some of the calibration images alone."""
        return replace(self, judges=[judge.smaller(chosen) for judge in self.judges])

    def _shares(self) -> Iterator[tuple[Contender, NDArray[np.bool_]]]:
        """Each judge beside the images that are its own, bool of shape (N,)."""
        return ((judge, self.judge_of == place) for place, judge in enumerate(self.judges))

    def _together(self, parts: Sequence[NDArray[_T]]) -> NDArray[_T]:
        """What each judge says of its own images, in the order of all images."""
        whole = np.empty(len(self.scores), dtype=parts[0].dtype)
        for part, (_, mine) in zip(parts, self._shares(), strict=True):
            whole[mine] = part
        return whole


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Panel:
    """Judges, and which of them may judge which image.

    Args:
        judges: One for each fold; one alone judges everything.
        folds: Fold of each image by its index within the source; unused with one judge.
    """

    judges: Sequence[Contender]
    folds: Mapping[int, int]

    def judge(self, images: MeasuredImages) -> Judged:
        """Let each image be scored by its judge."""
        judge_of, scores = self._judge_of(images), np.empty(len(images))
        for place, judge in enumerate(self.judges):
            mine = judge_of == place
            scores[mine] = judge.scores(images.rows(mine))
        return Judged(
            judges=self.judges, judge_of=judge_of, scores=scores, predicted=images.predicted
        )

    def _judge_of(self, images: MeasuredImages) -> NDArray[np.int64]:
        if len(self.judges) == 1:
            return np.zeros(len(images), dtype=np.int64)
        return np.array([self.folds[image] for image in images.image_ids.tolist()], dtype=np.int64)


def _places(table: ConformalTable, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    calibration, found = table.scores.sort().values, torch.from_numpy(scores).float()
    below = torch.searchsorted(calibration, found).double()
    beyond = (found - calibration[-1]).clamp(min=0).double()
    return np.asarray(((below + beyond / (1 + beyond)) / len(calibration)).numpy())
