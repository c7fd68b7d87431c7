"""A decision-based attack: it learns from the server's answers only whether an image passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["HopSkipJump"]

Passes = Callable[[Tensor], Tensor]
"""Whether each image is what the attacker wants, (B, 3, H, W) of floats in [0, 1] -> (B,)."""

_EIGHT_BITS = 1 / 255


@dataclass(frozen=True, kw_only=True, slots=True)
class HopSkipJump:
    """Walks along the boundary of what passes towards an image, in Euclidean distance.

    Each round brings the point to the boundary by bisection, estimates the boundary's normal from
    which of some random probes around the point pass, and steps along it. As the server sees 8 bits
    a channel, a probe is never shorter than half a step of them for each pixel, which the paper's
    are.

    Args:
        rounds: How many.
        probes: Probes of the first round; the n-th has the root of n times as many.

    Reference:
        Chen, Jordan and Wainwright, "HopSkipJumpAttack: A Query-Efficient Decision-Based Attack",
        IEEE S&P 2020.
    """

    rounds: int = 20
    probes: int = 20

    def __call__(self, passes: Passes, image: Tensor, start: Tensor, *, seed: int) -> Tensor:
        """An image that passes, nearer to the given one the longer it runs.

        Args:
            passes: The server's answers, one query for each image.
            image: Where to go, floats in [0, 1] of shape (3, H, W); does not pass itself.
            start: An image that passes.
            seed: Fixes the probes.
        """
        generator = torch.Generator().manual_seed(seed)
        point = _to_boundary(passes, image, start)
        for number in range(1, self.rounds + 1):
            probes = int(self.probes * number**0.5)
            normal = _normal(passes, point, image, probes, generator)
            point = _stepped(passes, point, normal, float((point - image).norm()) / number**0.5)
            point = _to_boundary(passes, image, point)
        return point


def _to_boundary(passes: Passes, image: Tensor, point: Tensor) -> Tensor:
    """The image next to the boundary on the way from a point that passes."""
    outside, inside = 0.0, 1.0
    nearest = point
    while (inside - outside) * float((point - image).abs().max()) > _EIGHT_BITS:
        middle = (outside + inside) / 2
        between = torch.lerp(image, point, middle)
        if bool(passes(between[None])[0]):
            inside, nearest = middle, between
        else:
            outside = middle
    return nearest


def _normal(
    passes: Passes, point: Tensor, image: Tensor, probes: int, generator: torch.Generator
) -> Tensor:
    radius = max(0.05 * float((point - image).norm()), 0.5 * _EIGHT_BITS * point.numel() ** 0.5)
    noise = torch.randn(probes, *point.shape, generator=generator)
    noise *= radius / noise.flatten(1).norm(dim=1)[:, None, None, None]
    probed = (point + noise).clamp(0, 1)
    signs = torch.where(passes(probed), 1.0, -1.0)
    if bool(signs.std(correction=0) > 0):  # the mean tells nothing about the direction
        signs -= signs.mean()
    normal = (signs[:, None, None, None] * (probed - point)).mean(0)
    return normal / normal.norm().clamp(min=1e-12)


def _stepped(passes: Passes, point: Tensor, normal: Tensor, length: float) -> Tensor:
    while length > 0.5 * _EIGHT_BITS * point.numel() ** 0.5:
        stepped = (point + length * normal).clamp(0, 1)
        if bool(passes(stepped[None])[0]):
            return stepped
        length /= 2
    return point
