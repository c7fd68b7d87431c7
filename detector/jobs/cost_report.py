"""What `offpath cost` found out: what a network multiplies, and what the gates leave of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from detector.decoupling import ModuleMacs
from detector.errors import InvalidInputError
from detector.jobs.json_report import JsonReport

__all__ = ["COST_SCHEMA_VERSION", "CostReport", "LayerCost", "Spread"]

COST_SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How a figure is spread over images.

    Args:
        mean: Its mean.
        low: Its quantile at 5 % of the images.
        high: Its quantile at 95 %.

    Raises:
        InvalidInputError: If one of them is not finite or the ends are the wrong way round.
    """

    mean: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.mean, self.low, self.high))) or self.low > self.high:
            raise InvalidInputError(
                "A spread should be finite, its ends the right way round. "
                f"Found {self.mean:g}, {self.low:g} to {self.high:g}.",
                field="spread",
            )

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Self:
        """The spread of some values.

        Args:
            values: One an image, shape (N,), N at least 1.
        """
        low, high = np.quantile(values, [0.05, 0.95])
        return cls(mean=float(values.mean()), low=float(low), high=float(high))


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCost:
    """One convolution or linear layer.

    Args:
        layer: Its name.
        plain: Multiplications for an image where every gate is open, positive.
        kept: Share of them that images are left with, on average, without its module; in [0, 1].
        gates: Gates that close its output channels; 0 where it has none.
        reads_gated: Whether gates of other layers close channels that it reads.
        module: Its controlling module; None where it has no gates.
    """

    layer: str
    plain: int
    kept: float
    gates: int
    reads_gated: bool
    module: ModuleMacs | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CostReport(JsonReport):
    """What a decoupled network multiplies for each of some images.

    Args:
        network: Digest of the network's weights.
        split: Split of the images.
        images: Their number.
        height: Height of the network's input, pixels.
        width: Its width, pixels.
        plain: Multiplications of the network without gates, for any image.
        modules: All controlling modules together.
        total: Multiplications of the decoupled network, modules included, as shares of those of
            the plain one; above 1 for an image that costs more.
        layers: Every convolution and linear layer, in the order of computation.
        schema_version: Version of this format.

    Reference:
        The rule of counting is that of `detector.decoupling.MacCount`.
    """

    kind: ClassVar = "a cost report"
    made_by: ClassVar = "offpath cost"
    version: ClassVar = COST_SCHEMA_VERSION

    network: str
    split: str
    images: int
    height: int
    width: int
    plain: int
    modules: ModuleMacs
    total: Spread
    layers: tuple[LayerCost, ...]
    schema_version: int = COST_SCHEMA_VERSION

    @property
    def module_share(self) -> float:
        """What the modules cost, as a share of the plain network's multiplications."""
        return self.modules.total / self.plain

    @property
    def kept(self) -> Spread:
        """Share of the plain network's own multiplications that are kept, without the modules."""
        share = self.module_share
        return Spread(
            mean=self.total.mean - share, low=self.total.low - share, high=self.total.high - share
        )
