"""The report after a calibration: what it is worth, as far as its own path table can tell."""

from detector.jobs.calibration_report.make import (
    HTML_FILE,
    JSON_FILE,
    ReportOptions,
    make_report,
    write_report,
)
from detector.jobs.calibration_report.report import CalibrationReport

__all__ = [
    "HTML_FILE",
    "JSON_FILE",
    "CalibrationReport",
    "ReportOptions",
    "make_report",
    "write_report",
]
