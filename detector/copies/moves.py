"""Copies that move pixels: flip, shift by a pixel or half of one, scaling down and up again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from detector.copies.base import Copy
from detector.errors import InvalidInputError

__all__ = ["Direction", "Flip", "HalfShift", "Scale", "Shift", "shifted"]

_FACTOR = re.compile(r"\d?(?:\.\d{1,9})?", re.ASCII)


class Direction(StrEnum):
    """Where a shift moves what is in the image."""

    LEFT = "left"
    RIGHT = "right"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, kw_only=True, slots=True)
class Flip(Copy):
    """Left and right change places. It means nothing for digits, text or traffic signs."""

    @property
    @override
    def name(self) -> str:
        return "flip"

    @classmethod
    @override
    def of_option(cls, option: str) -> Self:
        if option:
            raise InvalidInputError(
                f"flip should be named without an option. Found {option!r}.", field="copy"
            )
        return cls()

    @override
    def _copy(self, images: Tensor) -> Tensor:
        return images.flip(3)


def shifted(images: Tensor, direction: Direction) -> Tensor:
    """Images moved by one pixel, the edge repeated; of any type, (B, C, H, W) -> (B, C, H, W)."""
    match direction:
        case Direction.LEFT:
            return torch.cat([images[..., 1:], images[..., -1:]], dim=3)
        case Direction.RIGHT:
            return torch.cat([images[..., :1], images[..., :-1]], dim=3)
        case Direction.UP:
            return torch.cat([images[..., 1:, :], images[..., -1:, :]], dim=2)
        case Direction.DOWN:
            return torch.cat([images[..., :1, :], images[..., :-1, :]], dim=2)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Directed(Copy):
    """A copy that goes one of four ways, named by its kind and the way."""

    kind: ClassVar[str]
    direction: Direction

    @property
    @override
    def name(self) -> str:
        return f"{self.kind}:{self.direction}"

    @classmethod
    @override
    def of_option(cls, option: str) -> Self:
        try:
            return cls(direction=Direction(option))
        except ValueError:
            raise InvalidInputError(
                f"{cls.kind} should be followed by one of {', '.join(Direction)}, as in "
                f"{cls.kind}:left. Found {option!r}.",
                field="copy",
            ) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift(_Directed):
    """Everything moves by one pixel; the row or column at the edge it leaves is repeated.

    Repeating it is mirroring with the edge included. Mirroring without it would need two pixels a
    side, wrapping round would bring in pixels from far away, and black is an edge that the network
    has never seen at this place: its paths would change with clean images too.

    Args:
        direction: Where the content moves.
    """

    kind: ClassVar[str] = "shift"

    @override
    def _copy(self, images: Tensor) -> Tensor:
        return shifted(images, self.direction)


@dataclass(frozen=True, kw_only=True, slots=True)
class HalfShift(_Directed):
    """Everything moves by half a pixel: the mean of the image and of its shift by a whole one.

    That mean is linear interpolation, which also softens: stripes of one pixel, which many attacks
    leave, are gone.

    Args:
        direction: Where the content moves.
    """

    kind: ClassVar[str] = "half-shift"

    @override
    def _copy(self, images: Tensor) -> Tensor:
        total = images.to(torch.int16) + shifted(images, self.direction)
        return ((total + 1) // 2).to(torch.uint8)  # rounds half up, on every device alike


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale(Copy):
    """Down by a factor and back to size, both bilinear, with antialiasing on the way down.

    The two steps are taken in 32-bit floats and rounded once: torchvision's own 8-bit resizing
    rounds in between, and not alike on all processors.

    Args:
        factor: Size on the way as a share of the size, in (0, 1]; a side has at least one pixel.
    """

    factor: float

    def __post_init__(self) -> None:
        if not 0 < self.factor <= 1:
            raise InvalidInputError(
                f"The factor of scale should lie in (0, 1]. Found {self.factor:g}. "
                "Write it as scale:0.75.",
                field="copy",
            )

    @property
    @override
    def name(self) -> str:
        return f"scale:{self.factor:.9g}"

    @classmethod
    @override
    def of_option(cls, option: str) -> Self:
        if not option or option == "." or not _FACTOR.fullmatch(option):
            raise InvalidInputError(
                f"scale should be followed by a factor in (0, 1], as in scale:0.75. "
                f"Found {option!r}.",
                field="copy",
            )
        return cls(factor=float(option))

    @override
    def _copy(self, images: Tensor) -> Tensor:
        size = [int(side) for side in images.shape[2:]]
        small = [max(1, round(self.factor * side)) for side in size]
        if small == size:
            return images
        down = functional.interpolate(
            images.to(torch.float32), small, mode="bilinear", antialias=True
        )
        up = functional.interpolate(down, size, mode="bilinear")
        return up.round().clamp(0, 255).to(torch.uint8)
