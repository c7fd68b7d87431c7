"""Copies of images with a way back for gradients, so that an attacker can aim through them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from detector.attacks.balls import to_eight_bits
from detector.copies import Copy, Flip, HalfShift, Scale, Shift, shifted

__all__ = ["eight_bits", "through_copy", "to_bytes"]


class _Through(torch.autograd.Function):
    """One value forward, the gradient of another backward."""

    @staticmethod
    def forward(_ctx: Any, _smooth: Tensor, exact: Tensor) -> Tensor:
        return exact.clone()

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def to_bytes(images: Tensor) -> Tensor:
    """Images in [0, 1] as the nearest uint8 images, (B, 3, H, W)."""
    return (images.detach() * 255).round().clamp(0, 255).to(torch.uint8)


def eight_bits(images: Tensor) -> Tensor:
    """The nearest 8-bit images, as floats; the gradient passes as if nothing had been rounded.

    Args:
        images: Floats in [0, 1] of shape (B, 3, H, W).
    """
    rounded: Tensor = _Through.apply(images, to_eight_bits(images.detach()))
    return rounded


def through_copy(copy: Copy, images: Tensor) -> Tensor:
    """What a copy makes of images, exactly, with a gradient.

    Forward it is bit by bit the detector's own copy. Backward, a flip or shift moves gradients
    back where the pixels came from; half shifts and scalings spread them as bilinear weights do;
    filters, fewer bits and JPEG are taken for the identity, as the pixels that they leave are near.

    Args:
        copy: What the detector does.
        images: Images in [0, 1] that 8 bits hold exactly, float32 of shape (B, 3, H, W).

    Reference:
        Athalye et al., "Obfuscated Gradients Give a False Sense of Security", ICML 2018, for the
        backward pass that is only approximate.
    """
    match copy:
        case Flip():
            return images.flip(3)
        case Shift():
            return shifted(images, copy.direction)
        case HalfShift():
            smooth = (images + shifted(images, copy.direction)) / 2
        case Scale():
            smooth = _scaled(images, copy.factor)
        case _:
            smooth = images
    exact = copy(to_bytes(images)).to(images.dtype) / 255
    copied: Tensor = _Through.apply(smooth, exact)
    return copied


def _scaled(images: Tensor, factor: float) -> Tensor:
    size = [int(side) for side in images.shape[2:]]
    small = [max(1, round(factor * side)) for side in size]
    down = functional.interpolate(images, small, mode="bilinear", antialias=True)
    return functional.interpolate(down, size, mode="bilinear")
