"""An attack that moves images instead of changing their pixels; torchattacks has none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from detector.attacks.balls import to_eight_bits
from detector.attacks.base import Attack, check_at_least
from detector.attacks.model import with_hard_gates
from detector.attacks.result import margins
from detector.devices import exact_32_bit
from detector.errors import InvalidInputError

__all__ = ["Spatial"]


@dataclass(frozen=True, kw_only=True)
class Spatial(Attack):
    """The worst of some random rotations, translations and scalings of each image.

    Gradients are of little use here (the paper finds random search stronger), so none is followed.
    The worst is the 8-bit image with the largest margin for a wrong class, among the original and
    all tries: more tries never weaken the attack. What comes in over the edge is mirrored; black
    corners would give the attack away.

    Args:
        degrees: Largest rotation to either side, in 0..180.
        shift: Largest translation along each axis, as a share of the side, in 0..1.
        zoom: Largest scaling up or down, as a share of the size, in 0..0.9.
        tries: Number of random transformations of each image, at least 1.

    Reference:
        Engstrom et al., "Exploring the Landscape of Spatial Robustness", ICML 2019.
    """

    degrees: float = 30.0
    shift: float = 0.1
    zoom: float = 0.1
    tries: int = 50

    follows_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name, most in (("degrees", 180), ("shift", 1), ("zoom", 0.9)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise InvalidInputError(
                    f"{name} should lie in 0..{most:g}. Found {value:g}.", field=name
                )
        check_at_least("tries", self.tries, 1)

    @override
    @torch.no_grad()
    def _perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        judge = with_hard_gates(model)
        best = images
        with exact_32_bit(images.device):
            most = margins(judge(images), labels)  # (B,)
            for _ in range(self.tries):
                moved = to_eight_bits(self._moved(images))
                found = margins(judge(moved), labels)
                worse = found > most
                best = torch.where(worse[:, None, None, None], moved, best)
                most = torch.where(worse, found, most)
        return best

    def _moved(self, images: Tensor) -> Tensor:
        """Each image moved at random, (B, 3, H, W) -> (B, 3, H, W)."""
        turn, across, down, size = torch.rand(4, len(images), device=images.device) * 2 - 1
        angle = turn * math.radians(self.degrees)
        size = 1 + size * self.zoom
        height, width = images.shape[2:]
        # Where each pixel is read from, in units of half a side: long images need their aspect.
        theta = torch.stack(
            [
                torch.cos(angle) / size,
                -torch.sin(angle) / size * height / width,
                2 * self.shift * across,
                torch.sin(angle) / size * width / height,
                torch.cos(angle) / size,
                2 * self.shift * down,
            ],
            dim=1,
        ).view(-1, 2, 3)
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
