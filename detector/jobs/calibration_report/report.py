"""A calibration report: everything that its page shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from detector.jobs.calibration_report.origin import Sources
from detector.jobs.calibration_report.sections import (
    LayerGates,
    LevelReport,
    ModelCard,
    PathMaps,
    SizePoint,
)
from detector.jobs.evaluation.report_sections import FewShotPoint
from detector.jobs.evaluation.roc import ROC_GRID
from detector.jobs.json_report import JsonReport

__all__ = ["CALIBRATION_REPORT_SCHEMA_VERSION", "CalibrationReport"]

CALIBRATION_REPORT_SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationReport(JsonReport):
    """What a calibration is worth, as far as its own path table can tell.

    Args:
        card: What the bundle is.
        class_names: Name of each class.
        sources: Which images the figures are measured on.
        budgets: False-alarm budgets of the figures, each in (0, 1).
        levels: Figures of each level, the default first.
        gates: What the gates of each layer do.
        paths: How clean images of each class travel.
        few_shot: Classifiers on path bits by images a class, on one attack.
        sizes: Calibrations with fewer images.
        roc_grid: False-alarm rates at which the curves are kept.
        schema_version: Version of the report's format.
    """

    kind: ClassVar = "a calibration report"
    made_by: ClassVar = "offpath report"
    version: ClassVar = CALIBRATION_REPORT_SCHEMA_VERSION

    card: ModelCard
    class_names: tuple[str, ...]
    sources: Sources
    budgets: tuple[float, ...]
    levels: tuple[LevelReport, ...]
    gates: tuple[LayerGates, ...]
    paths: PathMaps
    few_shot: tuple[FewShotPoint, ...]
    sizes: tuple[SizePoint, ...]
    roc_grid: tuple[float, ...] = ROC_GRID
    schema_version: int = CALIBRATION_REPORT_SCHEMA_VERSION
