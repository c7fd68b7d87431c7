"""Everything that is found out about the paths of a network: what reports are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from detector.jobs.interpretation.class_distances import ClassDistances
from detector.jobs.interpretation.class_rates import LayerGates
from detector.jobs.interpretation.closing import Closing
from detector.jobs.interpretation.combinations import Combination
from detector.jobs.interpretation.dissection import Dissection
from detector.jobs.interpretation.embedding import Embedding
from detector.jobs.interpretation.probes import Probes
from detector.jobs.json_report import JsonReport

__all__ = ["INTERPRETATION_SCHEMA_VERSION", "Interpretation"]

INTERPRETATION_SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Interpretation(JsonReport):
    """What the paths of a network say.

    Args:
        network: Digest of the network's weights.
        class_names: Name of each class.
        learn_split: Split of the images that probes and combinations were found with.
        learn_images: Number of these that were looked at more than once.
        check_split: Split of the images that all of that was checked on.
        check_images: Their number.
        rate_images: Number of images behind gate kinds and class distances: all of the first split.
        gates: What kinds of gates each layer has.
        distances: How far the paths of classes lie from each other, in all layers, then in each.
        probes: How much the gates of each layer that was looked at know of the class.
        embedding: Where images lie by the gates of each of these; of the images to check.
        combinations: The smallest combination of gates that stands for each concept.
        closings: What closing them does; empty where there was no data to look at again, and
            without the concepts of which no gate speaks by being open.
        dissections: Where the concepts of masks are; empty where none were given.
        schema_version: Version of this format.
    """

    kind: ClassVar = "an interpretation"
    made_by: ClassVar = "offpath interpret"
    version: ClassVar = INTERPRETATION_SCHEMA_VERSION
    indent: ClassVar = None

    network: str
    class_names: tuple[str, ...]
    learn_split: str
    learn_images: int
    check_split: str
    check_images: int
    rate_images: int
    gates: tuple[LayerGates, ...]
    distances: tuple[ClassDistances, ...]
    probes: Probes
    embedding: Embedding
    combinations: tuple[Combination, ...]
    closings: tuple[Closing, ...] = ()
    dissections: tuple[Dissection, ...] = ()
    schema_version: int = INTERPRETATION_SCHEMA_VERSION
