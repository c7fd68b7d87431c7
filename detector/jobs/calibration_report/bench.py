"""The judges of each level: what ships, and its siblings that have not seen a fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from detector.bundle import Bundle
from detector.errors import DataError
from detector.jobs.calibration_report.judge import Judge, Panel
from detector.jobs.calibration_report.origin import Origin
from detector.jobs.calibration_report.rows import TableRows
from detector.jobs.evaluation.measured_images import MeasuredImages
from detector.jobs.evaluation.shipped import calibration_facts, same_scores
from detector.jobs.fit_levels import Measured, fit_level
from detector.pipeline import Level

__all__ = ["Bench", "bench_of"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bench:
    """The judges of one level.

    Args:
        rows: What there is to judge.
        shipped: The level as it ships; it may judge test and calibration images.
        siblings: Judges of the fit split, each without its fold.
        parts: Fold of each calibration image, whole numbers of shape (M,).
    """

    rows: TableRows
    shipped: Panel
    siblings: Panel
    parts: NDArray[np.int64]

    @property
    def attacked(self) -> Panel:
        """Who judges attacks and harmless changes."""
        return self.siblings if self.rows.attacked is self.rows.fit else self.shipped

    @property
    def clean(self) -> Panel:
        """Who judges clean images, by their places at least."""
        return self.siblings if self.rows.clean_origin is Origin.CROSS_FITTED else self.shipped

    def false_alarms(self, budget: float) -> NDArray[np.bool_] | None:
        """Which of the clean images are flagged; None where a class cannot promise the budget.

        Args:
            budget: Share of clean images that may be flagged, in (0, 1).
        """
        if self.rows.clean_origin is not Origin.CROSS_CONFORMAL:
            return self.clean.flags(self.rows.clean, budget)
        flags = np.zeros(len(self.parts), dtype=np.bool_)
        for part in np.unique(self.parts):
            mine = self.parts == part
            others = self.shipped.with_calibration(np.flatnonzero(~mine))
            found = others.flags(self.rows.clean.rows(mine), budget)
            if found is None:
                return None
            flags[mine] = found
        return flags


def bench_of(level: Level, rows: TableRows, bundle: Bundle, *, folds: int, seed: int) -> Bench:
    """Check that a level is what the table gives, and fit its siblings.

    Args:
        level: The level as it ships.
        rows: What there is to judge.
        bundle: The bundle that it is of.
        folds: Number of folds, at least 2.
        seed: Seed of the folds.

    Raises:
        CalibrationError: If a fold leaves too little to fit the fusion on.
        DataError: If the bundle was calibrated with another table.
    """
    place = {name: index for index, name in enumerate(rows.statistics.names)}
    columns = torch.tensor([place[name] for name in level.suspicion.statistics.names])
    shipped = Judge(level=level, columns=columns)
    _require_same(shipped, rows.calibration)
    fold_of = rows.fit.folds(folds, seed)
    fitted = _siblings(shipped, rows, bundle, fold_of, folds)
    order = np.random.default_rng(seed).permutation(len(rows.calibration))
    return Bench(
        rows=rows,
        shipped=Panel(judges=[shipped], folds={}),
        siblings=Panel(judges=fitted, folds=fold_of),
        parts=order % folds,
    )


@torch.inference_mode()
def _siblings(
    shipped: Judge, rows: TableRows, bundle: Bundle, fold_of: dict[int, int], folds: int
) -> Sequence[Judge]:
    level = shipped.level
    fit_rows = rows.fit.fit_rows()
    fold = torch.tensor([fold_of[image] for image in fit_rows.image_ids.tolist()])
    facts = calibration_facts(bundle)
    return [
        Judge(
            level=fit_level(
                level.name,
                Measured(
                    statistics=rows.statistics,
                    fit=fit_rows[fold != held_out],
                    calibration=rows.calibration.statistics,
                    predicted=torch.from_numpy(rows.calibration.predicted),
                ).of(level.copies),
                facts.fit(level.name),
                promise=level.conformal.promise,
                seed=facts.seed,
            ),
            columns=shipped.columns,
        )
        for held_out in range(folds)
    ]


def _require_same(shipped: Judge, calibration: MeasuredImages) -> None:
    table = shipped.level.conformal
    predicted = torch.from_numpy(calibration.predicted)
    same = torch.equal(predicted, table.predicted)
    if not same or not same_scores(shipped.scores(calibration), table.scores):
        raise DataError(
            "The path table should be the one that the bundle was calibrated with. Found other "
            f"calibration scores at {shipped.level.name}. Give that table; test images and attacks "
            "may have been added to it."
        )
