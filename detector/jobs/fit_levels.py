"""Fits and calibrates the levels of a detector on statistics that were measured once for all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from detector.conformal import ConformalTable, Promise
from detector.jobs.fit_rows import FitRows, read_fit_rows
from detector.jobs.fusions import FusionFit
from detector.path_table import PathTable
from detector.pipeline import Level, LevelName
from detector.scoring import Statistics, Suspicion

__all__ = ["Measured", "fit_level", "measure"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Statistics of the held-out images.

    Args:
        statistics: What was measured, S numbers an image.
        fit: Of the fit images under everything that was done to them.
        calibration: Of the clean calibration images, float of shape (M, S).
        predicted: Predicted classes of these, int64 of shape (M,).
    """

    statistics: Statistics
    fit: FitRows
    calibration: Tensor
    predicted: Tensor

    def of(self, copies: tuple[str, ...]) -> Measured:
        """The same images with only some of the copies.

        Args:
            copies: Names of copies that were looked at.
        """
        narrow = Statistics(self.statistics.path_scores, copies)
        place = {name: index for index, name in enumerate(self.statistics.names)}
        columns = torch.tensor([place[name] for name in narrow.names])
        return Measured(
            statistics=narrow,
            fit=self.fit.columns(columns),
            calibration=self.calibration[:, columns],
            predicted=self.predicted,
        )


@torch.inference_mode()
def measure(table: PathTable, statistics: Statistics) -> Measured:
    """Measure the fit and calibration images of a table.

    Args:
        table: The path table; a few of its rows are in memory at a time.
        statistics: Fitted scores.

    Raises:
        DataError: If the table cannot be read, or has not the copies that are looked at.
    """
    values, predicted = [], []
    for rows in table.calibration(statistics.copies):
        values.append(statistics(rows.seen))
        predicted.append(rows.original.predictions)
    return Measured(
        statistics=statistics,
        fit=read_fit_rows(table, statistics),
        calibration=torch.cat(values),
        predicted=torch.cat(predicted),
    )


def fit_level(
    name: LevelName, measured: Measured, fit: FusionFit, *, promise: Promise, seed: int
) -> Level:
    """Fit the fusion of a level on fit images, and calibrate it on calibration images.

    Args:
        name: Which level.
        measured: The statistics that it reads.
        fit: How they become one score.
        promise: What is promised.
        seed: Seed of what is random.

    Raises:
        CalibrationError: If the fusion cannot be fitted on these rows, or the score of a
            calibration image is not finite.
    """
    suspicion = Suspicion(
        measured.statistics, fit.fit(measured.fit, measured.statistics, seed=seed)
    ).eval()
    with torch.inference_mode():
        scores: Tensor = suspicion.fusion(measured.calibration)
    return Level(
        name=name,
        suspicion=suspicion,
        conformal=ConformalTable(scores, measured.predicted, suspicion.classes, promise=promise),
    )
