"""Corruptions by weather and light: snow, fog, brightness; frost is in a file of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from detector.corruptions.base import Corruption
from detector.corruptions.draws import Draws
from detector.corruptions.names import CorruptionName
from detector.corruptions.sampling import streaked, zoomed

__all__ = ["Brightness", "Fog", "Snow"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Snow(Corruption):
    """Flakes drawn out by their fall, twice over, in front of an image that has paled.

    Flakes are what lies above a threshold in enlarged normal noise. The image pales towards
    max(x, 1.5 grey + 0.5).
    """

    kind: ClassVar[CorruptionName] = CorruptionName.SNOW

    @override
    def _corrupt(self, images: Tensor, draws: Draws) -> Tensor:
        # Mean and deviation of the noise, its zoom and threshold; radius and sigma of the fall;
        # what is kept of the image.
        mean, deviation, zoom, threshold, radius, sigma, kept = self._level(
            (
                (0.1, 0.2, 1.0, 0.6, 8, 3, 0.95),
                (0.1, 0.2, 1.0, 0.5, 10, 4, 0.9),
                (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
                (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
                (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
            )
        )
        noise = zoomed(mean + deviation * draws.normal(1, *images.shape[2:]), zoom)
        flakes = torch.where(noise < threshold, 0.0, noise).clamp(0, 1)
        flakes = streaked(flakes, draws.directions(-135, -45), radius, sigma)
        red, green, blue = images.unbind(1)
        grey = (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(1)
        pale = torch.maximum(images, 1.5 * grey + 0.5)
        return kept * images + (1 - kept) * pale + flakes + flakes.flip(2, 3)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fog(Corruption):
    """Clouds p in front of the image: (x + c p) m / (m + c), m the image's largest value.

    The clouds are a fractal by diamonds and squares. The smaller its decay, the finer they are.
    """

    kind: ClassVar[CorruptionName] = CorruptionName.FOG

    @override
    def _corrupt(self, images: Tensor, draws: Draws) -> Tensor:
        thickness, decay = self._level(
            ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))
        )
        height, width = images.shape[2:]
        clouds = _clouds(draws, max(height, width), decay)[:, None, :height, :width]
        most = images.amax(dim=(1, 2, 3), keepdim=True)
        return (images + thickness * clouds) * most / (most + thickness)


def _clouds(draws: Draws, least: int, decay: float) -> Tensor:
    """Random height maps in [0, 1] that wrap round, by the diamond-square algorithm.

    Args:
        draws: One map for each image.
        least: The side is the smallest power of two, at least 2, that holds so many pixels.
        decay: Each round's strength is the one before, divided by the square of this.

    Returns:
        Floats of shape (B, side, side).
    """
    step = side = max(2, 1 << (least - 1).bit_length())
    strength = 1.0
    heights = torch.zeros(len(draws), side, side)
    while step >= 2:
        half, cells = step // 2, side // step
        wobble = strength * (2 * draws.uniform(3, cells, cells) - 1)
        corner = heights[:, ::step, ::step]
        pairs = corner + corner.roll(-1, 1)
        middle = (pairs + pairs.roll(-1, 2)) / 4 + wobble[:, 0]
        heights[:, half::step, half::step] = middle
        upper = corner + corner.roll(-1, 2) + middle + middle.roll(1, 1)
        heights[:, ::step, half::step] = upper / 4 + wobble[:, 1]
        left = corner + corner.roll(-1, 1) + middle + middle.roll(1, 2)
        heights[:, half::step, ::step] = left / 4 + wobble[:, 2]
        step, strength = half, strength / decay**2
    low, high = heights.amin(dim=(1, 2), keepdim=True), heights.amax(dim=(1, 2), keepdim=True)
    return (heights - low) / (high - low)


@dataclass(frozen=True, kw_only=True, slots=True)
class Brightness(Corruption):
    """Brighter light: each pixel's value in HSV, its largest channel v, becomes min(v + c, 1).

    Hue and saturation stay where all three channels grow in proportion; black becomes grey.
    """

    kind: ClassVar[CorruptionName] = CorruptionName.BRIGHTNESS

    @override
    def _corrupt(self, images: Tensor, draws: Draws) -> Tensor:
        added = self._level((0.05, 0.1, 0.15, 0.2, 0.3))
        value = images.amax(dim=1, keepdim=True)  # (B, 1, H, W)
        brighter = (value + added).clamp(max=1)
        return torch.where(value > 0, images * (brighter / value), brighter)
