"""What the paths of a network mean: layer by layer, concept by concept, image by image."""

from detector.jobs.interpretation.interpret import InterpretOptions, interpret
from detector.jobs.interpretation.interpretation import Interpretation
from detector.jobs.interpretation.story import Story, tell_stories

__all__ = ["InterpretOptions", "Interpretation", "Story", "interpret", "tell_stories"]
