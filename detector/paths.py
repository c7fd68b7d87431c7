"""The path of a batch of images: which gates were open, layer by layer."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

__all__ = ["PathLayout", "PathVectors"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PathLayout:
    """Which gates belong to which layer.

    Args:
        names: Name of each gated layer, in the order in which the network computes them.
        sizes: Number of gates of each layer, as many entries as ``names``.

    Raises:
        ValueError: If the two disagree, a size is not positive or a name stands twice.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.sizes) or len(set(self.names)) != len(self.names):
            raise ValueError(
                "PathLayout should have one size for each of its distinct names. "
                f"Found {len(self.names)} names ({len(set(self.names))} distinct) "
                f"and {len(self.sizes)} sizes."
            )
        if not self.sizes or min(self.sizes) < 1:
            raise ValueError(f"PathLayout sizes should be positive. Found {self.sizes}.")

    @property
    def layers(self) -> int:
        """Number of gated layers, L."""
        return len(self.names)

    @property
    def gates(self) -> int:
        """Number of gates of the whole network, G."""
        return sum(self.sizes)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Where each layer lies in a vector of all gates."""
        stops = tuple(accumulate(self.sizes))
        return tuple(slice(stop - size, stop) for size, stop in zip(self.sizes, stops, strict=True))

    def layer_of_gate(self) -> Tensor:
        """Index of the layer that each gate belongs to, int64 of shape (G,)."""
        return torch.repeat_interleave(torch.arange(self.layers), torch.tensor(self.sizes))

    def place(self, gate: int) -> tuple[str, int]:
        """Where a gate is: the name of its layer, and the index of its filter in it, from 0.

        Args:
            gate: Index among all gates of the network, in 0..G-1.

        Raises:
            ValueError: If there is no such gate.
        """
        if not 0 <= gate < self.gates:
            raise ValueError(f"A gate should be one of 0 to {self.gates - 1}. Found {gate}.")
        stops = tuple(accumulate(self.sizes))
        layer = bisect_right(stops, gate)
        return self.names[layer], gate - stops[layer] + self.sizes[layer]

    def gate(self, layer: str, filter: int) -> int:  # noqa: A002 - what it is called everywhere
        """Index of a gate among all gates of the network.

        Args:
            layer: Name of its layer.
            filter: Index of its filter in the layer, from 0.

        Raises:
            ValueError: If there is no such layer, or no such filter in it.
        """
        if layer not in self.names:
            raise ValueError(f"A layer should be one of {', '.join(self.names)}. Found {layer}.")
        index = self.names.index(layer)
        if not 0 <= filter < self.sizes[index]:
            raise ValueError(
                f"A filter of {layer} should be one of 0 to {self.sizes[index] - 1}. "
                f"Found {filter}."
            )
        return sum(self.sizes[:index]) + filter


@dataclass(frozen=True, kw_only=True, slots=True)
class PathVectors:
    """The paths of a batch: for each image, each gate's state and what led to it.

    Args:
        layout: Which gates belong to which layer.
        bits: True where the gate is open, bool of shape (B, G).
        logits: Value of each gate before binarisation; open means positive; float of shape (B, G).
        activations: Mean over height and width of each gated output channel, float of
            shape (B, G); zero where the gate is closed.
    """

    layout: PathLayout
    bits: Tensor
    logits: Tensor
    activations: Tensor

    def __post_init__(self) -> None:
        expected = (self.bits.shape[0], self.layout.gates)
        for name in ("bits", "logits", "activations"):
            found = tuple(getattr(self, name).shape)
            if found != expected:
                raise ValueError(f"PathVectors {name} should have shape {expected}. Found {found}.")

    def __len__(self) -> int:
        return int(self.bits.shape[0])

    def __getitem__(self, rows: slice | Tensor) -> PathVectors:
        """The paths of some of the images, chosen by a slice, a mask or indices."""
        return PathVectors(
            layout=self.layout,
            bits=self.bits[rows],
            logits=self.logits[rows],
            activations=self.activations[rows],
        )

    def by_layer(self) -> Iterator[tuple[str, PathVectors]]:
        """Each layer's name with the part of the paths that lies in it."""
        for name, size, part in zip(
            self.layout.names, self.layout.sizes, self.layout.slices, strict=True
        ):
            yield (
                name,
                PathVectors(
                    layout=PathLayout(names=(name,), sizes=(size,)),
                    bits=self.bits[:, part],
                    logits=self.logits[:, part],
                    activations=self.activations[:, part],
                ),
            )

    def to(self, device: torch.device) -> PathVectors:
        """The same paths on a device."""
        return PathVectors(
            layout=self.layout,
            bits=self.bits.to(device),
            logits=self.logits.to(device),
            activations=self.activations.to(device),
        )

    def cpu(self) -> PathVectors:
        """The same paths in main memory, detached from any gradient."""
        return PathVectors(
            layout=self.layout,
            bits=self.bits.detach().cpu(),
            logits=self.logits.detach().cpu(),
            activations=self.activations.detach().cpu(),
        )

    @staticmethod
    def concatenate(parts: list[PathVectors]) -> PathVectors:
        """One batch out of several of the same layout.

        Raises:
            ValueError: If there is no part.
        """
        if not parts:
            raise ValueError(
                "PathVectors.concatenate should be given at least one part. Found none."
            )
        return PathVectors(
            layout=parts[0].layout,
            bits=torch.cat([part.bits for part in parts]),
            logits=torch.cat([part.logits for part in parts]),
            activations=torch.cat([part.activations for part in parts]),
        )
