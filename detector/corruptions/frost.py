"""A corruption by ice on the lens, grown here instead of photographed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from detector.corruptions.base import Corruption
from detector.corruptions.draws import Draws
from detector.corruptions.names import CorruptionName
from detector.corruptions.sampling import read_at

__all__ = ["Frost"]

_COLOUR = (0.80, 0.92, 1.0)
"""Share of red, green and blue in ice."""

_LATTICE = 16
"""Side of the random lattices that ice is read from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frost(Corruption):
    """Ice crystals f in front of the image: a x + b f, a and b as published.

    Not the original's frost: that one crops five photographs, which Offpath does not have. Here
    needles grow in three directions, 60 degrees apart as in ice, from ridges of fractal noise that
    is drawn out along each. Figures on it compare with each other, not with published ones.
    """

    kind: ClassVar[CorruptionName] = CorruptionName.FROST

    @override
    def _corrupt(self, images: Tensor, draws: Draws) -> Tensor:
        kept, added = self._level(((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)))
        ice = _ice(draws, *images.shape[2:]).unsqueeze(1) * torch.tensor(_COLOUR).view(3, 1, 1)
        return kept * images + added * ice


def _ice(draws: Draws, height: int, width: int) -> Tensor:
    """How much light ice throws back, in [0, 1], shape (B, H, W)."""
    cosine, sine = draws.directions(0, 60)
    half, root = 0.5, 0.75**0.5
    needles = torch.zeros(len(draws), height, width)
    for _ in range(3):
        needles = torch.maximum(needles, _ridges(draws, height, width, cosine, sine))
        # On by 60 degrees.
        cosine, sine = half * cosine - root * sine, root * cosine + half * sine
    low, high = needles.amin(dim=(1, 2), keepdim=True), needles.amax(dim=(1, 2), keepdim=True)
    return 0.3 + 0.7 * (needles - low) / (high - low).clamp(min=1e-6)


def _ridges(draws: Draws, height: int, width: int, cosine: Tensor, sine: Tensor) -> Tensor:
    """Bright lines along a direction, in [0, 1], shape (B, H, W): the creases of fractal noise."""
    down, across = torch.arange(height).view(-1, 1), torch.arange(width)
    cosine, sine = cosine.view(-1, 1, 1), sine.view(-1, 1, 1)
    along, beside = cosine * across + sine * down, cosine * down - sine * across
    total, weight = torch.zeros(len(cosine), height, width), 1.0
    for octave in range(3):
        lattice = 2 * draws.uniform(1, _LATTICE, _LATTICE) - 1
        spacing = 6 / 2**octave
        height_map = read_at(lattice, along / (4 * spacing), beside / spacing)[:, 0]
        crease = 1 - height_map.abs()
        total += weight * crease.square().square()
        weight /= 2
    return total / 1.75
