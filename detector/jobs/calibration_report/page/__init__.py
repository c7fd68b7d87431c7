"""The page of a calibration report, rendered from its data alone."""

from detector.jobs.calibration_report.page.document import page

__all__ = ["page"]
