"""The fused scores that are evaluated: each fusion at each level, calibrated like the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.conformal import ConformalTable, Promise
from detector.jobs.evaluation.measured import Measured
from detector.jobs.fit_rows import FitRows
from detector.jobs.fusions import FusionFit
from detector.pipeline import LevelName
from detector.scoring import Fusion, FusionName, Statistics

__all__ = ["Contender", "Ground"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What contenders are fitted and calibrated on; no test image is among it.

    Args:
        widest: Scores of the path and of all copies.
        rows: Their statistics on the fit split, clean, noisy and attacked.
        calibration: Their statistics on the calibration split.
        classes: Number of classes, K.
        promise: What calibration promises.
        seed: Seed of what is random in fitting.
    """

    widest: Statistics
    rows: FitRows
    calibration: Measured
    classes: int
    promise: Promise
    seed: int

    def contender(
        self,
        fusion: FusionName,
        level: LevelName,
        copies: tuple[str, ...],
        fit: FusionFit,
        *,
        fitted: Tensor | None = None,
    ) -> Contender:
        """Fit and calibrate one fused score.

        Args:
            fusion: Its name.
            level: Its level.
            copies: What the level looks at.
            fit: How it is fitted.
            fitted: Which rows it is fitted on, bool of shape (N,); all by default.
        """
        statistics = Statistics(self.widest.path_scores, copies)
        place = {name: index for index, name in enumerate(self.widest.names)}
        columns = torch.tensor([place[name] for name in statistics.names])
        rows = self.rows if fitted is None else self.rows[fitted]
        found = fit.fit(rows.columns(columns), statistics, seed=self.seed)
        return Contender(
            fusion=fusion, level=level, copies=copies, columns=columns, fitted=found, ground=self
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """One fused score at one level.

    Args:
        fusion: Its name.
        level: Its level.
        copies: What the level looks at.
        columns: Which of all statistics it reads, int64.
        fitted: The fusion.
        ground: What it was fitted and calibrated on.
    """

    fusion: FusionName
    level: LevelName
    copies: tuple[str, ...]
    columns: Tensor
    fitted: Fusion
    ground: Ground

    @property
    def name(self) -> str:
        """As reports write it."""
        return f"{self.level}, {self.fusion}"

    @torch.inference_mode()
    def scores(self, measured: Measured) -> NDArray[np.float64]:
        """Score of each image, shape (N,)."""
        scores: Tensor = self.fitted(measured.statistics[:, self.columns])
        return scores.double().numpy()

    def conformal(self, chosen: NDArray[np.int64] | None = None) -> ConformalTable:
        """Its calibration, with all calibration images or with some of them."""
        calibration = self.ground.calibration
        rows = np.arange(len(calibration)) if chosen is None else chosen
        return ConformalTable(
            torch.from_numpy(self.scores(calibration)[rows]),
            torch.from_numpy(calibration.predicted[rows]),
            self.ground.classes,
            promise=self.ground.promise,
        )

    def flags(self, measured: Measured, budgets: Sequence[float]) -> dict[float, NDArray[np.bool_]]:
        """Which images are flagged at each budget that at least one class can promise."""
        table = self.conformal()
        scores = torch.from_numpy(self.scores(measured)).float()
        predicted = torch.from_numpy(measured.predicted)
        return {
            budget: table.flags(scores, predicted, budget).numpy()
            for budget in budgets
            if bool((table.ranks(budget) > 0).all())
        }
