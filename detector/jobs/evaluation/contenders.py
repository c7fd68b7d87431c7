"""The fused scores that are evaluated: each fusion at each level, calibrated like the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.conformal import ConformalTable, Promise
from detector.jobs.evaluation.measured_images import MeasuredImages
from detector.jobs.fit_levels import Measured, fit_level
from detector.jobs.fit_rows import FitRows
from detector.jobs.fusions import FusionFit
from detector.pipeline import Level, LevelName
from detector.scoring import FusionName, Statistics

__all__ = ["Contender", "Ground"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What contenders are fitted and calibrated on; no test image is among it.

    Args:
        measured: Statistics of fit and calibration images with all copies.
        calibration: The calibration images again, with the scores of baselines.
        promise: What calibration promises.
        seed: Seed of what is random in fitting.
    """

    measured: Measured
    calibration: MeasuredImages
    promise: Promise
    seed: int

    @classmethod
    def of(
        cls,
        statistics: Statistics,
        fit: FitRows,
        calibration: MeasuredImages,
        *,
        promise: Promise,
        seed: int,
    ) -> Ground:
        """Fit rows and calibration images that the same scores have looked at.

        Args:
            statistics: Scores of the path and of all copies.
            fit: What fusions are fitted on.
            calibration: The calibration images.
            promise: What calibration promises.
            seed: Seed of what is random in fitting.
        """
        measured = Measured(
            statistics=statistics,
            fit=fit,
            calibration=calibration.statistics,
            predicted=torch.from_numpy(calibration.predicted),
        )
        return cls(measured=measured, calibration=calibration, promise=promise, seed=seed)

    @property
    def widest(self) -> Statistics:
        """Scores of the path and of all copies."""
        return self.measured.statistics

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
            fitted: Which fit rows it is fitted on, bool of shape (N,); all by default.
        """
        measured = self.measured
        if fitted is not None:
            measured = replace(measured, fit=measured.fit[fitted])
        found = fit_level(level, measured.of(copies), fit, promise=self.promise, seed=self.seed)
        return Contender(fusion=fusion, level=found, ground=self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """One fused score at one level.

    Args:
        fusion: Its name.
        level: The level, fitted and calibrated.
        ground: What it was fitted and calibrated on.
    """

    fusion: FusionName
    level: Level
    ground: Ground

    @property
    def name(self) -> str:
        """As reports write it."""
        return f"{self.level.name}, {self.fusion}"

    @property
    def columns(self) -> Tensor:
        """Which of all statistics it reads, int64."""
        place = {name: index for index, name in enumerate(self.ground.widest.names)}
        return torch.tensor([place[name] for name in self.level.suspicion.statistics.names])

    @torch.inference_mode()
    def scores(self, images: MeasuredImages) -> NDArray[np.float64]:
        """Score of each image, shape (N,)."""
        scores: Tensor = self.level.suspicion.fusion(images.statistics[:, self.columns])
        return scores.double().numpy()

    def smaller(self, chosen: NDArray[np.int64]) -> Contender:
        """The same score, calibrated on some of the calibration images alone."""
        table = self.level.conformal
        rows = torch.from_numpy(chosen)
        smaller = ConformalTable(
            table.scores[rows], table.predicted[rows], table.classes, promise=table.promise
        )
        return replace(self, level=replace(self.level, conformal=smaller))

    def flags(
        self, images: MeasuredImages, budgets: Sequence[float]
    ) -> dict[float, NDArray[np.bool_]]:
        """Which images are flagged at each budget that every class can promise."""
        return self.flags_of(self.scores(images), images.predicted, budgets)

    def flags_of(
        self,
        scores: NDArray[np.float64],
        predicted: NDArray[np.int64],
        budgets: Sequence[float],
    ) -> dict[float, NDArray[np.bool_]]:
        """The same of images whose scores are known, which no calibration changes."""
        table = self.level.conformal
        found = torch.from_numpy(scores).float(), torch.from_numpy(predicted)
        return {
            budget: table.flags(*found, budget).numpy()
            for budget in budgets
            if bool((table.ranks(budget) > 0).all())
        }
