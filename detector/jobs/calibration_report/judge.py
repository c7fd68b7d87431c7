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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.conformal import ConformalTable
from detector.jobs.evaluation.measured_images import MeasuredImages
from detector.pipeline import Level

__all__ = ["Judge", "Panel"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judge:
    """A level with its calibration.

    Args:
        level: The level.
        columns: Which of the statistics that were measured it reads, int64.
    """

    level: Level
    columns: Tensor

    @torch.inference_mode()
    def scores(self, images: MeasuredImages) -> Tensor:
        """Score of each image, float of shape (N,)."""
        scores: Tensor = self.level.suspicion.fusion(images.statistics[:, self.columns])
        return scores.float()

    def places(self, images: MeasuredImages) -> NDArray[np.float64]:
        """Place of each image among the calibration images, in [0, 1 + 1 / n), shape (N,)."""
        calibration = self.level.conformal.scores.sort().values
        scores = self.scores(images)
        below = torch.searchsorted(calibration, scores).double()
        beyond = (scores - calibration[-1]).clamp(min=0).double()
        return ((below + beyond / (1 + beyond)) / len(calibration)).numpy()

    def flags(self, images: MeasuredImages, budget: float) -> NDArray[np.bool_] | None:
        """Which images are flagged; None where a class cannot promise the budget."""
        table = self.level.conformal
        if not bool((table.ranks(budget) > 0).all()):
            return None
        predicted = torch.from_numpy(images.predicted)
        return np.asarray(table.flags(self.scores(images), predicted, budget).numpy())

    def with_calibration(self, rows: NDArray[np.int64]) -> Judge:
        """The same score, calibrated on some of the calibration images alone."""
        table, chosen = self.level.conformal, torch.from_numpy(rows)
        smaller = ConformalTable(
            table.scores[chosen], table.predicted[chosen], table.classes, promise=table.promise
        )
        return replace(self, level=replace(self.level, conformal=smaller))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Panel:
    """Judges, and which of them may judge which image.

    Args:
        judges: One for each fold; one alone judges everything.
        folds: Fold of each image by its index within the source; unused with one judge.
    """

    judges: Sequence[Judge]
    folds: Mapping[int, int]

    def places(self, images: MeasuredImages) -> NDArray[np.float64]:
        """Place of each image by its judge, shape (N,)."""
        places = np.empty(len(images))
        for judge, mine in self._shared_out(images):
            places[mine] = judge.places(images.rows(mine))
        return places

    def flags(self, images: MeasuredImages, budget: float) -> NDArray[np.bool_] | None:
        """Which images are flagged by their judge; None where one cannot promise the budget."""
        flags = np.zeros(len(images), dtype=np.bool_)
        for judge, mine in self._shared_out(images):
            found = judge.flags(images.rows(mine), budget)
            if found is None:
                return None
            flags[mine] = found
        return flags

    def with_calibration(self, rows: NDArray[np.int64]) -> Panel:
        """The same judges, calibrated on some of the calibration images alone."""
        return replace(self, judges=[judge.with_calibration(rows) for judge in self.judges])

    def _shared_out(self, images: MeasuredImages) -> list[tuple[Judge, NDArray[np.bool_]]]:
        """Each judge beside the images that are its own, bool of shape (N,)."""
        if len(self.judges) == 1:
            return [(self.judges[0], np.ones(len(images), dtype=np.bool_))]
        fold = np.array([self.folds[image] for image in images.image_ids.tolist()], dtype=np.int64)
        return [(judge, fold == place) for place, judge in enumerate(self.judges)]
