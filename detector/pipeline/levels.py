"""How much a verdict may cost: one pass of the network, two, or one for each copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch

from detector.conformal import ConformalTable
from detector.paths import PathLayout
from detector.scoring import Suspicion

__all__ = ["Level", "LevelName", "check_levels"]


class LevelName(StrEnum):
    """How much compute a verdict may cost."""

    FAST = "fast"
    """One pass of the network."""
    STANDARD = "standard"
    """One copy of the image beside it."""
    THOROUGH = "thorough"
    """All copies that suit the data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """One level, with a calibration of its own.

    Args:
        name: Which level.
        suspicion: How images and their copies become a score.
        conformal: Calibration scores per predicted class.

    Raises:
        ValueError: If the two have not the same number of classes.
    """

    name: LevelName
    suspicion: Suspicion
    conformal: ConformalTable

    def __post_init__(self) -> None:
        if self.suspicion.classes != self.conformal.classes:
            raise ValueError(
                f"A level should have one number of classes. Found {self.suspicion.classes} in its "
                f"scores and {self.conformal.classes} in its calibration."
            )

    @property
    def copies(self) -> tuple[str, ...]:
        """Names of the copies of each image that it looks at."""
        return self.suspicion.copies

    @property
    def passes(self) -> int:
        """Passes of the network that an image costs."""
        return 1 + len(self.copies)


def check_levels(levels: Sequence[Level], layout: PathLayout, classes: int) -> None:
    """Refuse levels that cannot stand side by side: they share path scores and calibration images.

    Args:
        levels: The levels.
        layout: Which gates of the network belong to which layer.
        classes: Its number of classes.

    Raises:
        ValueError: If there is none, one stands twice, one is of another network, or they differ
            in more than copies, fusion and calibration scores.
    """
    names = [level.name for level in levels]
    if not levels or len(set(names)) != len(names):
        raise ValueError(
            "A pipeline should have at least one level, each once. "
            f"Found {', '.join(names) or 'none'}."
        )
    first = levels[0]
    for level in levels:
        if level.suspicion.layout != layout or level.suspicion.classes != classes:
            raise ValueError(
                "The parts of a pipeline should have one layout and one number of classes. "
                f"Found {level.suspicion.layout.gates} and {layout.gates} gates, "
                f"{level.suspicion.classes} and {classes} classes."
            )
        if (
            level.suspicion.statistics.path_scores is not first.suspicion.statistics.path_scores
            or level.conformal.promise != first.conformal.promise
            or not torch.equal(level.conformal.predicted, first.conformal.predicted)
        ):
            raise ValueError(
                "The levels of a pipeline should share the scores of the path, the calibration "
                f"images and the promise. Found others for {level.name} than for {first.name}."
            )
