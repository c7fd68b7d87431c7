"""Pages of interpretations, rendered from their data alone."""

from detector.jobs.interpretation.page.document import page
from detector.jobs.interpretation.page.story_page import story_page

__all__ = ["page", "story_page"]
