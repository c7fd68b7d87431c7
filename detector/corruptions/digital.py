"""Corruptions by processing: contrast, pixelation, JPEG, resizing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from typing_extensions import override

from detector.copies import Jpeg, Scale
from detector.corruptions.base import Corruption, eight_bit
from detector.corruptions.draws import Draws
from detector.corruptions.names import CorruptionName

__all__ = ["Contrast", "JpegCompression", "Pixelate", "Resize"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast(Corruption):
    """Less contrast: c (x - m) + m, m the mean of each channel."""

    kind: ClassVar[CorruptionName] = CorruptionName.CONTRAST

    @override
    def _corrupt(self, images: Tensor, draws: Draws) -> Tensor:
        kept = self._level((0.75, 0.5, 0.4, 0.3, 0.15))
        # Added up in whole numbers: a sum of floats depends on their order.
        total = eight_bit(images).sum(dim=(2, 3), keepdim=True, dtype=torch.int64)
        mean = total / (255 * images.shape[2] * images.shape[3])  # (B, 3, 1, 1)
        return kept * (images - mean) + mean


@dataclass(frozen=True, kw_only=True, slots=True)
class Pixelate(Corruption):
    """Fewer and larger pixels: down to a share of the size and up again, box filters, by Pillow."""

    kind: ClassVar[CorruptionName] = CorruptionName.PIXELATE

    @override
    def _corrupt(self, images: Tensor, draws: Draws) -> Tensor:
        share = self._level((0.95, 0.9, 0.85, 0.75, 0.65))
        height, width = images.shape[2:]
        small = (max(1, int(width * share)), max(1, int(height * share)))
        pixels = eight_bit(images).permute(0, 2, 3, 1).contiguous().numpy()  # (B, H, W, 3)
        box = Image.Resampling.BOX
        coarse = [
            np.asarray(Image.fromarray(image).resize(small, box).resize((width, height), box))
            for image in pixels
        ]
        return torch.from_numpy(np.stack(coarse)).permute(0, 3, 1, 2) / 255


@dataclass(frozen=True, kw_only=True, slots=True)
class JpegCompression(Corruption):
    """A small JPEG file, as `detector.copies.Jpeg` makes it."""

    kind: ClassVar[CorruptionName] = CorruptionName.JPEG_COMPRESSION

    @override
    def _corrupt(self, images: Tensor, draws: Draws) -> Tensor:
        quality = self._level((80, 65, 58, 50, 40))
        return Jpeg(quality=quality)(eight_bit(images)) / 255


@dataclass(frozen=True, kw_only=True, slots=True)
class Resize(Corruption):
    """Down to a share of the size and up again, bilinear, as `detector.copies.Scale` does it.

    Not of CIFAR-10-C: pixels that a site or a camera has resized on their way.
    """

    kind: ClassVar[CorruptionName] = CorruptionName.RESIZE

    @override
    def _corrupt(self, images: Tensor, draws: Draws) -> Tensor:
        factor = self._level((0.9, 0.8, 0.7, 0.6, 0.5))
        return Scale(factor=factor)(eight_bit(images)) / 255
