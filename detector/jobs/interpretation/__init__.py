"""What the paths of a network mean: layer by layer, concept by concept, image by image."""

from detector.jobs.interpretation.interpret import InterpretOptions, interpret
from detector.jobs.interpretation.interpretation import Interpretation

__all__ = ["InterpretOptions", "Interpretation", "interpret"]
