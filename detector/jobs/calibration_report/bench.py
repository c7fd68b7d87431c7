"""The judges of each level: what ships, and its siblings that have not seen a fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from detector.bundle import Bundle
from detector.errors import DataError
from detector.jobs.calibration_report.judge import Panel
from detector.jobs.calibration_report.origin import Origin
from detector.jobs.calibration_report.rows import TableRows
from detector.jobs.evaluation.contenders import Contender, Ground
from detector.jobs.evaluation.shipped import calibration_facts, same_scores
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

    def false_alarms(self, budgets: Sequence[float]) -> dict[float, NDArray[np.bool_]]:
        """Which of the clean images are flagged at each budget that every class can promise.

        Args:
            budgets: Shares of clean images that may be flagged, each in (0, 1).
        """
        judged = self.clean.judge(self.rows.clean)
        if self.rows.clean_origin is Origin.CROSS_CONFORMAL:
            (shipped,) = judged.judges
            others = [
                shipped.smaller(np.flatnonzero(self.parts != part))
                for part in range(int(self.parts.max()) + 1)
            ]
            judged = replace(judged, judges=others, judge_of=self.parts)
        return judged.flags(budgets)


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
    facts = calibration_facts(bundle)
    fusion = facts.fusions[level.name]
    ground = Ground.of(
        rows.statistics,
        rows.fit.fit_rows(),
        rows.calibration,
        promise=level.conformal.promise,
        seed=facts.seed,
    )
    shipped = Contender(fusion=fusion, level=level, ground=ground)
    _require_same(shipped)
    fold_of = rows.fit.folds(folds, seed)
    fold = torch.tensor([fold_of[image] for image in ground.measured.fit.image_ids.tolist()])
    siblings = [
        ground.contender(
            fusion, level.name, level.copies, facts.fit(level.name), fitted=fold != held_out
        )
        for held_out in range(folds)
    ]
    order = np.random.default_rng(seed).permutation(len(rows.calibration))
    return Bench(
        rows=rows,
        shipped=Panel(judges=[shipped], folds={}),
        siblings=Panel(judges=siblings, folds=fold_of),
        parts=order % folds,
    )


def _require_same(shipped: Contender) -> None:
    table, calibration = shipped.level.conformal, shipped.ground.calibration
    scores = torch.from_numpy(shipped.scores(calibration)).float()
    same = torch.equal(torch.from_numpy(calibration.predicted), table.predicted)
    if not same or not same_scores(scores, table.scores):
        raise DataError(
            "The path table should be the one that the bundle was calibrated with. Found other "
            f"calibration scores at {shipped.level.name}. Give that table; test images and attacks "
            "may have been added to it."
        )
