"""The page of a sweep."""

from detector.jobs.sparsity_sweep.page.document import page

__all__ = ["page"]
