"""Layers of equal size, side by side: one matrix product serves all of them at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from detector.paths import PathLayout

__all__ = ["EqualLayers", "equal_layers", "layer_indicator"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EqualLayers:
    """The layers of a network that have the same number of gates, n layers of C gates each.

    A network has many layers but few sizes. Work that is done layer by layer, such as whitening,
    is done size by size instead: a dense matrix over all gates would cost more than the network.

    Args:
        layers: Index of each of these layers, ascending.
        size: Number of gates of each of them, C.
        gates: Index of each gate, layer after layer, int64 of shape (n C,).
        run: Where they lie, if they follow each other without a gap.
    """

    layers: tuple[int, ...]
    size: int
    gates: Tensor
    run: slice | None = field(init=False)

    def __post_init__(self) -> None:
        first, last = int(self.gates[0]), int(self.gates[-1])
        gapless = last - first == len(self.gates) - 1
        object.__setattr__(self, "run", slice(first, last + 1) if gapless else None)

    def take(self, values: Tensor) -> Tensor:
        """These layers' part of values of all gates, (B, G) -> (n, B, C)."""
        if self.run is not None:
            part = values[:, self.run]  # no copy
        else:
            part = values.index_select(1, self.gates.to(values.device))
        return part.reshape(len(part), len(self.layers), self.size).transpose(0, 1)


def equal_layers(layout: PathLayout) -> tuple[EqualLayers, ...]:
    """The layers of a network, grouped by size."""
    slices = layout.slices
    groups = []
    for size in sorted(set(layout.sizes)):
        layers = tuple(index for index, found in enumerate(layout.sizes) if found == size)
        parts = [torch.arange(slices[index].start, slices[index].stop) for index in layers]
        groups.append(EqualLayers(layers=layers, size=size, gates=torch.cat(parts)))
    return tuple(groups)


def layer_indicator(layout: PathLayout) -> Tensor:
    """1 where a gate belongs to a layer, float of shape (G, L): sums over layers as a product."""
    indicator = torch.zeros(layout.gates, layout.layers)
    indicator[torch.arange(layout.gates), layout.layer_of_gate()] = 1
    return indicator
