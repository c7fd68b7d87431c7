"""Corruptions that smear: a lens out of focus, frosted glass, motion, zooming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from detector.corruptions.base import Corruption
from detector.corruptions.draws import Draws
from detector.corruptions.names import CorruptionName
from detector.corruptions.sampling import filtered, smoothed, streaked, zoomed

__all__ = ["DefocusBlur", "GlassBlur", "MotionBlur", "ZoomBlur"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DefocusBlur(Corruption):
    """A lens out of focus: a disk as kernel, itself smoothed within 3 x 3 pixels.

    Up to severity 3 the disk is a single pixel, and the smoothing alone blurs.
    """

    kind: ClassVar[CorruptionName] = CorruptionName.DEFOCUS_BLUR

    @override
    def _corrupt(self, images: Tensor, draws: Draws) -> Tensor:
        radius, sigma = self._level(((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)))
        axis = torch.arange(-3, 4)
        disk = (axis.square().unsqueeze(1) + axis.square() <= radius**2).to(torch.float64)
        kernel = smoothed((disk / disk.sum()).view(1, 1, 7, 7), sigma, reach=1 / sigma)
        return filtered(images, kernel[0, 0])


@dataclass(frozen=True, kw_only=True, slots=True)
class GlassBlur(Corruption):
    """Frosted glass: pixels come from beside their place, between two slight Gaussian filters.

    In each round a pixel becomes itself or one of its neighbours above and to the left, but for
    two rows and columns at the edge. So the published images were made; their script means to
    swap the two, but copies one, and swaps, which carry pixels far, would exceed all else.
    """

    kind: ClassVar[CorruptionName] = CorruptionName.GLASS_BLUR

    @override
    def _corrupt(self, images: Tensor, draws: Draws) -> Tensor:
        sigma, rounds = self._level(((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)))
        height, width = images.shape[2:]
        here = torch.arange(height * width).view(height, width)
        moves = draws.whole(0, 1, 2, rounds, height, width)  # (B, 2, rounds, H, W)
        steps = width * moves[:, 0] + moves[:, 1]
        steps[..., :2, :], steps[..., :2] = 0, 0
        flat = smoothed(images, sigma, reach=4).flatten(2)
        for turn in range(rounds):
            source = (here - steps[:, turn]).flatten(1).unsqueeze(1)
            flat = flat.gather(2, source.expand_as(flat))
        return smoothed(flat.view_as(images), sigma, reach=4)


@dataclass(frozen=True, kw_only=True, slots=True)
class MotionBlur(Corruption):
    """A camera that moves: half a Gaussian along a line at a random angle in -45..45 degrees."""

    kind: ClassVar[CorruptionName] = CorruptionName.MOTION_BLUR

    @override
    def _corrupt(self, images: Tensor, draws: Draws) -> Tensor:
        radius, sigma = self._level(((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)))
        return streaked(images, draws.directions(-45, 45), radius, sigma)


@dataclass(frozen=True, kw_only=True, slots=True)
class ZoomBlur(Corruption):
    """A camera that moves ahead: the mean of the image and of itself at n zooms, 1 % apart."""

    kind: ClassVar[CorruptionName] = CorruptionName.ZOOM_BLUR

    @override
    def _corrupt(self, images: Tensor, draws: Draws) -> Tensor:
        # How many zooms numpy makes of the published ranges 1 to 1.06, 1.11, 1.16, 1.21, 1.26,
        # whose ends should be left out but, as floats fall, are not always.
        zooms = self._level((7, 12, 16, 21, 26))
        total = images.clone()
        for step in range(zooms):
            total += zoomed(images, 1 + step / 100)
        return total / (zooms + 1)
