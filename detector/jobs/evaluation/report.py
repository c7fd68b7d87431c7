"""The report of an evaluation: everything that tables, plots and the release gate read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from detector.jobs.evaluation.controls import ControlResult
from detector.jobs.evaluation.estimates import Estimate, Share
from detector.jobs.evaluation.figures import ScoreFigures
from detector.jobs.evaluation.report_sections import (
    AdaptiveFigures,
    CalibrationSize,
    FewShotPoint,
    LeftOutCell,
    LevelFigures,
    PlainNetworkFigures,
    ShiftFigures,
    TransferFigures,
)
from detector.jobs.evaluation.roc import ROC_GRID
from detector.jobs.json_report import JsonReport

__all__ = ["REPORT_SCHEMA_VERSION", "EvaluationReport"]

REPORT_SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationReport(JsonReport):
    """All figures of a bundle under a plan.

    Args:
        plan_name: Name of the plan.
        plan_digest: Its SHA-256; reports of other plans do not compare.
        plan: The plan itself, as plain values.
        bundle_digest: SHA-256 of the bundle that was evaluated.
        provenance: Command, time, versions, devices.
        accuracy: Share of all clean test images that the network classifies right.
        levels: Figures and price of each level.
        baselines: Figures of the scores to compare with, on the same network.
        left_out: Areas when one family of attacks is left out of fitting.
        few_shot: The paper's table: classifiers on bits by images a class.
        calibration_sizes: False alarms by number of calibration images.
        shifts: Corruptions and noise, and how often they are flagged.
        controls: What the controls found.
        transfer: Attacks made on each of some other networks; empty where none was given.
        adaptive: What attackers who know the detector reach; None where it was not run.
        plain_network: The same scores on the plain network; None where it was not run.
        roc_grid: False-alarm rates at which the curves are kept.
        schema_version: Version of the report's format.
    """

    kind: ClassVar = "a report"
    made_by: ClassVar = "offpath evaluate"
    version: ClassVar = REPORT_SCHEMA_VERSION

    plan_name: str
    plan_digest: str
    plan: dict[str, Any]
    bundle_digest: str
    provenance: dict[str, Any]
    accuracy: Share
    levels: tuple[LevelFigures, ...]
    controls: tuple[ControlResult, ...]
    baselines: tuple[ScoreFigures, ...] = ()
    left_out: tuple[LeftOutCell, ...] = ()
    few_shot: tuple[FewShotPoint, ...] = ()
    calibration_sizes: tuple[CalibrationSize, ...] = ()
    shifts: tuple[ShiftFigures, ...] = ()
    transfer: tuple[TransferFigures, ...] = ()
    adaptive: AdaptiveFigures | None = None
    plain_network: PlainNetworkFigures | None = None
    roc_grid: tuple[float, ...] = ROC_GRID
    schema_version: int = REPORT_SCHEMA_VERSION

    @property
    def worst_left_out(self) -> dict[str, Estimate]:
        """The headline by level: the smallest area of an attack whose family was left out."""
        worst: dict[str, Estimate] = {}
        for cell in self.left_out:
            if cell.unknown and cell.auroc is not None:
                known = worst.get(cell.level)
                if known is None or cell.auroc.value < known.value:
                    worst[cell.level] = cell.auroc
        return worst
