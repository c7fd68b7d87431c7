"""The page of an interpretation, rendered from its data alone."""

from detector.jobs.interpretation.page.document import page

__all__ = ["page"]
