"""Copies that change pixels: median filter, fewer bits a channel, JPEG.

Reference:
    Xu et al., "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", NDSS
    2018, for the first two.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from detector.copies.base import Copy, whole_option
from detector.errors import InvalidInputError

__all__ = ["BitDepth", "Jpeg", "Median"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Median(Copy):
    """Each value becomes the median of the square around it, channel by channel.

    As scipy's ``median_filter``, which feature squeezing uses: the edge is repeated, and of an
    even number of values the larger of the middle two is taken; a square of two pixels a side
    reaches up and to the left.

    Args:
        size: Pixels a side, 2 or 3.
    """

    size: int

    def __post_init__(self) -> None:
        if self.size not in {2, 3}:
            raise InvalidInputError(
                f"The size of median should be 2 or 3. Found {self.size}. "
                "Larger squares blur small images beyond recognition.",
                field="copy",
            )

    @property
    @override
    def name(self) -> str:
        return f"median:{self.size}"

    @classmethod
    @override
    def of_option(cls, option: str) -> Self:
        return cls(size=whole_option(option, "median:3"))

    @override
    def _copy(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        before, after = self.size // 2, (self.size - 1) // 2
        # Padding that repeats the edge exists for floats only; 0..255 are exact in them.
        edges = (before, after, before, after)
        padded = functional.pad(images.to(torch.float32), edges, mode="replicate").to(torch.uint8)
        windows = [
            padded[..., down : down + height, across : across + width]
            for down in range(self.size)
            for across in range(self.size)
        ]
        return torch.stack(windows).sort(dim=0).values[len(windows) // 2]


@dataclass(frozen=True, kw_only=True, slots=True)
class BitDepth(Copy):
    """Each value is rounded to the nearest of the values that fewer bits can tell apart.

    Args:
        bits: Bits a channel, in 1..7.
    """

    bits: int

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 7:
            raise InvalidInputError(
                f"The bits of an image's copy should lie in 1..7. Found {self.bits}. "
                "Write it as bits:5.",
                field="copy",
            )

    @property
    @override
    def name(self) -> str:
        return f"bits:{self.bits}"

    @classmethod
    @override
    def of_option(cls, option: str) -> Self:
        return cls(bits=whole_option(option, "bits:5"))

    @override
    def _copy(self, images: Tensor) -> Tensor:
        steps = 2**self.bits - 1
        # In whole numbers, with half a divisor added for rounding: the same on every device.
        level = (images.to(torch.int32) * steps + 127) // 255
        value: Tensor = (level * 255 + steps // 2) // steps
        return value.to(torch.uint8)


@dataclass(frozen=True, kw_only=True, slots=True)
class Jpeg(Copy):
    """Written as JPEG and read again, with colours at half the resolution (4:2:0), by Pillow.

    The slowest of the copies: image by image, on the CPU.

    Args:
        quality: Of the file, in 1..95; above that Pillow switches parts of JPEG off.
    """

    quality: int

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 95:
            raise InvalidInputError(
                f"The quality of jpeg should lie in 1..95. Found {self.quality}. "
                "Write it as jpeg:75.",
                field="copy",
            )

    @property
    @override
    def name(self) -> str:
        return f"jpeg:{self.quality}"

    @classmethod
    @override
    def of_option(cls, option: str) -> Self:
        return cls(quality=whole_option(option, "jpeg:75"))

    @override
    def _copy(self, images: Tensor) -> Tensor:
        pixels = images.permute(0, 2, 3, 1).cpu().numpy()  # (B, H, W, 3)
        copied = np.stack([self._coded(np.ascontiguousarray(image)) for image in pixels])
        return torch.from_numpy(copied).permute(0, 3, 1, 2).to(images.device)

    def _coded(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """One image, (H, W, 3), through a JPEG file."""
        file = BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=self.quality, subsampling="4:2:0")
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB"))
