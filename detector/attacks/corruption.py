"""Corruptions in an attack's place: natural shift that a detector of attacks should not flag.

Like noise, they share the attacks' code path and do not look at the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from detector.attacks.balls import Unbounded
from detector.attacks.base import Attack
from detector.corruptions import Corruption

__all__ = ["Corrupted"]


@dataclass(frozen=True, kw_only=True)
class Corrupted(Attack):
    """What a corruption makes of the nearest 8-bit images.

    An image's place is its place in the batch.

    Args:
        corruption: What is done.
    """

    corruption: Corruption

    follows_gradient: ClassVar[bool] = False
    is_benign: ClassVar[bool] = True

    @override
    def _perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        pixels = Unbounded().round(images, images)
        corrupted = self.corruption(pixels, seed=int(torch.randint(2**31, ())))
        return corrupted.to(images.dtype) / 255
