"""The sections of a calibration report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from detector.jobs.evaluation.estimates import Estimate
from detector.jobs.evaluation.figures import ScoreFigures, ShareAtBudget

__all__ = [
    "CardLevel",
    "HarmlessFigures",
    "LayerGates",
    "LevelReport",
    "ModelCard",
    "PathMaps",
    "SizePoint",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class HarmlessFigures:
    """Images changed without harm: by noise, blur, weather, compression.

    Args:
        name: Label of the change, as ``fog:2``.
        flagged: Share of them that is flagged at each budget that ships.
    """

    name: str
    flagged: tuple[ShareAtBudget, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelReport:
    """All figures of one level.

    Args:
        level: Its name.
        score: How well it finds each attack, and its false alarms.
        harmless: How often it flags what means no harm.
    """

    level: str
    score: ScoreFigures
    harmless: tuple[HarmlessFigures, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerGates:
    """What the gates of one layer do on clean calibration images.

    Args:
        name: Name of the layer.
        always_open: Gates that are open for every image.
        always_closed: Gates that are open for none.
        input_dependent: All others: they alone tell paths apart.
        open_share: Share of gates that are open, mean over images, in [0, 1].
    """

    name: str
    always_open: int
    always_closed: int
    input_dependent: int
    open_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PathMaps:
    """How clean images travel, for each predicted class and layer.

    Args:
        images: Number of calibration images that are predicted as each class, K numbers.
        open_shares: Share of a layer's gates that are open for a class, K rows of L numbers in
            [0, 1]; a row of a class without images is empty.
        distances: How far the class lies from all others in that layer: mean over gates of the
            distance between the class's open share and the mean of all classes, in [0, 1].
    """

    images: tuple[int, ...]
    open_shares: tuple[tuple[float, ...], ...]
    distances: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SizePoint:
    """A calibration with fewer images, at the default level and the bundle's budget.

    Args:
        images: Calibration images, all classes together.
        false_alarms: Share of clean images that is flagged, images that this calibration did not
            use: mean, least and most over draws of these images. None where a class has too few of
            them for the budget, or no image is left to measure on.
        found: Share of successful attacks that is flagged, mean over attacks; likewise.
    """

    images: int
    false_alarms: Estimate | None
    found: Estimate | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CardLevel:
    """One level, as a model card tells it.

    Args:
        name: Its name.
        passes: Passes of the network for one verdict.
        copies: Copies of each image that it looks at.
        fusion: How its statistics become one score.
    """

    name: str
    passes: int
    copies: tuple[str, ...]
    fusion: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """What the bundle is and how it was made.

    Args:
        digest: SHA-256 of the bundle.
        created: When it was calibrated, ISO 8601.
        backbone: Which backbone the network has.
        layers: Number of gated layers.
        gates: Number of gates.
        width: Width of the images that the network takes, pixels.
        height: Their height, pixels.
        levels: What a verdict may cost, the default first.
        alpha: False-alarm budget in (0, 1).
        guarantee: ``pac`` or ``plain``.
        confidence: Probability that a PAC promise holds, in (0, 1).
        needed: Calibration images that a class needs for each budget of the report, in its order.
        calibration_counts: Number of calibration images that are predicted as each class.
        provenance: How training and calibration were run.
        text: The model card that lies in the bundle, Markdown; None where there is none.
    """

    digest: str
    created: str
    backbone: str
    layers: int
    gates: int
    width: int
    height: int
    levels: tuple[CardLevel, ...]
    alpha: float
    guarantee: str
    confidence: float
    needed: tuple[int, ...]
    calibration_counts: tuple[int, ...]
    provenance: dict[str, Any]
    text: str | None
