"""How much a verdict may cost: one pass of the network, two, or one for each copy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from detector.conformal import ConformalTable
from detector.scoring import Suspicion

__all__ = ["Level", "LevelName"]


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
