"""Which layers of a network leave out what is closed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["SkippingPlan", "Way"]


class Way(StrEnum):
    """How a gated layer is computed."""

    MASKED = "masked"
    """All filters, of which the closed ones are dropped."""
    FILTERS_CONVOLVED = "open-filters-convolved"
    """Open filters of all channels, by the library's convolution."""
    FILTERS_MULTIPLIED = "open-filters-multiplied"
    """The same as a product of matrices."""
    CHANNELS_CONVOLVED = "open-channels-convolved"
    """Open filters of open channels, by the library's convolution."""
    CHANNELS_MULTIPLIED = "open-channels-multiplied"
    """The same as a product of matrices."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SkippingPlan:
    """How each gated layer is computed.

    Args:
        names: The layers, as the layout names them.
        ways: The way of each.

    Raises:
        ValueError: If there are not as many of both.
    """

    names: tuple[str, ...]
    ways: tuple[Way, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.ways):
            raise ValueError(
                "A plan should have a way for each layer. "
                f"Found {len(self.ways)} ways for {len(self.names)} layers."
            )

    @classmethod
    def uniform(cls, names: tuple[str, ...], way: Way) -> SkippingPlan:
        """The same way for all layers."""
        return cls(names=names, ways=(way,) * len(names))

    def to_json(self) -> dict[str, str]:
        """The way of each layer by its name, as plain JSON values."""
        return {name: str(way) for name, way in zip(self.names, self.ways, strict=True)}
