"""Fits and calibrates the levels of a detector on statistics that were measured once for all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from detector.conformal import ConformalTable, Promise
from detector.jobs.engines import Engine, LocalEngine, Report
from detector.jobs.fit_rows import FitRows, read_fit_rows
from detector.jobs.fusions import FusionFit
from detector.path_table import PathTable, Place, SplitName
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


def measure(table: PathTable, statistics: Statistics, engine: Engine | None = None) -> Measured:
    """Measure the fit and calibration images of a table.

    Args:
        table: The path table; a few of its rows are in memory at a time.
        statistics: Fitted scores.
        engine: Where statistics are computed; here by default.

    Raises:
        DataError: If the table cannot be read, or has not the copies that are looked at.
    """
    engine = engine or LocalEngine()
    work = _Calibration(table=table.folder, statistics=statistics)
    found = list(engine.in_order(work, range(table.shard_count(SplitName.CALIBRATION))))
    return Measured(
        statistics=statistics,
        fit=read_fit_rows(table, statistics, engine),
        calibration=torch.cat([values for values, _ in found]),
        predicted=torch.cat([predicted for _, predicted in found]),
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Calibration:
    """Statistics and predicted classes of the calibration images of one shard."""

    table: Place
    statistics: Statistics

    @torch.inference_mode()
    def __call__(self, shard: int, _report: Report, /) -> tuple[Tensor, Tensor]:
        table = PathTable(self.table)
        rows = list(table.calibration(self.statistics.copies, shards=range(shard, shard + 1)))
        return (
            torch.cat([self.statistics(each.seen) for each in rows]),
            torch.cat([each.original.predictions for each in rows]),
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
