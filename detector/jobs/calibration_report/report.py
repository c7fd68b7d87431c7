"""A calibration report: everything that its page shows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.errors import DataError, InvalidInputError
from detector.jobs.calibration_report.origin import Sources
from detector.jobs.calibration_report.sections import (
    LayerGates,
    LevelReport,
    ModelCard,
    PathMaps,
    SizePoint,
)
from detector.jobs.evaluation.plain_values import PlainValueError, read_plain, to_plain
from detector.jobs.evaluation.report_sections import FewShotPoint
from detector.jobs.evaluation.roc import ROC_GRID
from detector.storage import atomic_path

__all__ = ["CALIBRATION_REPORT_SCHEMA_VERSION", "CalibrationReport"]

CALIBRATION_REPORT_SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationReport:
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

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_json(cls, fields: object) -> CalibrationReport:
        """The report whose `to_json` this is.

        Args:
            fields: What a JSON reader gave.

        Raises:
            DataError: If it is of another schema version or not a report.
        """
        version = fields.get("schema_version") if isinstance(fields, dict) else None
        if isinstance(version, int) and version != CALIBRATION_REPORT_SCHEMA_VERSION:
            raise DataError(
                "A calibration report should have schema version "
                f"{CALIBRATION_REPORT_SCHEMA_VERSION}. Found {version}. "
                "Make it again with this version of offpath."
            )
        try:
            return read_plain(cls, fields)
        except (PlainValueError, InvalidInputError) as error:
            raise DataError(
                f"A calibration report should be as `offpath report` wrote it. Found: {error}"
            ) from error

    def write(self, path: Path) -> None:
        """Write the report as JSON, whole or not at all.

        Args:
            path: Where to.

        Raises:
            StorageError: If the file cannot be written.
        """
        text = json.dumps(self.to_json(), indent=1, allow_nan=False)
        with atomic_path(path) as temporary:
            temporary.write_text(f"{text}\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> CalibrationReport:
        """Read a report.

        Args:
            path: A file that `write` wrote.

        Raises:
            DataError: If it cannot be read or is no calibration report of this schema version.
        """
        try:
            return cls.from_json(json.loads(path.read_bytes()))
        except (OSError, ValueError, RecursionError, DataError) as error:
            raise DataError(f"{path} should be a calibration report. Found: {error}") from error
