"""What torchattacks needs beside its arguments, so that its results can be used."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["class_count", "finite_or_original", "library_seed"]


def library_seed() -> int:
    """A seed for torchattacks, which seeds the global generator once more, by default with 0."""
    return int(torch.randint(2**31, ()))


def finite_or_original(attacked: Tensor, images: Tensor) -> Tensor:
    """Attacked images (B, 3, H, W), with the original in place of each that is not finite.

    Where no gradient reaches the pixels of an image, torchattacks divides by zero: it found none.
    """
    usable = attacked.isfinite().flatten(1).all(dim=1)  # (B,)
    return torch.where(usable[:, None, None, None], attacked, images)


@torch.no_grad()
def class_count(model: nn.Module, images: Tensor) -> int:
    """Number of classes of a model; torchattacks takes 10 unless it is told."""
    logits: Tensor = model(images[:1])
    return logits.shape[1]
