"""How far an attacked image may lie from its original, and how it is brought back there."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

__all__ = ["Ball", "LinfBall", "RmsBall", "Unbounded", "to_eight_bits"]


class Ball(ABC):
    """The set of images that an attack may return for one original."""

    @abstractmethod
    def excess(self, images: Tensor, originals: Tensor) -> float:
        """How far the worst of the images lies outside, in [0, 1] pixel scale; 0 or less inside.

        Args:
            images: Attacked images, shape (B, 3, H, W).
            originals: What they were made from, of the same shape.
        """

    @abstractmethod
    def project(self, images: Tensor, originals: Tensor) -> Tensor:
        """The images, moved into the ball where they are not in it."""

    def round(self, images: Tensor, originals: Tensor) -> Tensor:
        """The images as 8-bit pixels, as a PNG file would keep them.

        Args:
            images: Attacked images in [0, 1], shape (B, 3, H, W).
            originals: uint8 images that they were made from, of the same shape.

        Returns:
            uint8 images of the same shape.
        """
        del originals  # any rounding stays in a ball that has no sharp bound
        return _nearest(images)


@dataclass(frozen=True, slots=True)
class LinfBall(Ball):
    """No pixel value changes by more than epsilon.

    Args:
        epsilon: Radius in [0, 1] pixel scale.
    """

    epsilon: float

    @override
    def excess(self, images: Tensor, originals: Tensor) -> float:
        return float((images - originals).abs().amax()) - self.epsilon

    @override
    def project(self, images: Tensor, originals: Tensor) -> Tensor:
        return torch.clamp(images, originals - self.epsilon, originals + self.epsilon)

    @override
    def round(self, images: Tensor, originals: Tensor) -> Tensor:
        # An epsilon between two 8-bit steps would be left by rounding to the nearest one.
        steps = math.floor(self.epsilon * 255 + 1e-3)
        nearest = _nearest(images).to(torch.int16)
        before = originals.to(torch.int16)
        return nearest.clamp(before - steps, before + steps).to(torch.uint8)


@dataclass(frozen=True, slots=True)
class RmsBall(Ball):
    """The root mean square of the change is at most epsilon, image by image.

    The corners of `LinfBall` of the same epsilon lie on it, which makes it the L2 ball of
    same-norm noise. Rounding to 8 bits may leave it by a fraction of one 8-bit step.

    Args:
        epsilon: Radius in [0, 1] pixel scale.
    """

    epsilon: float

    @override
    def excess(self, images: Tensor, originals: Tensor) -> float:
        return float(_rms(images - originals).amax()) - self.epsilon

    @override
    def project(self, images: Tensor, originals: Tensor) -> Tensor:
        change = images - originals
        shrink = (self.epsilon / _rms(change).clamp_min(1e-12)).clamp_max(1.0)
        return originals + change * shrink


class Unbounded(Ball):
    """Any image at all: for attacks that look for the least change themselves."""

    @override
    def excess(self, images: Tensor, originals: Tensor) -> float:
        return -math.inf

    @override
    def project(self, images: Tensor, originals: Tensor) -> Tensor:
        return images


def to_eight_bits(images: Tensor) -> Tensor:
    """The nearest images that 8 bits can hold, as floats in [0, 1] of the same shape.

    They are, bit by bit, what `Preprocessing.scale` makes of the images that `Unbounded` rounds.
    """
    return _nearest(images).to(images.dtype) / 255


def _nearest(images: Tensor) -> Tensor:
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


def _rms(change: Tensor) -> Tensor:
    return change.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
