"""Distances from a set of clean images, a few images at a time."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["exact_distances", "nearest_distances", "some_of"]

_IMAGES_AT_ONCE = 1000


def exact_distances(values: Tensor, reference: Tensor) -> Tensor:
    """Euclidean distances, difference by difference, (..., B, C) and (..., N, C) -> (..., B, N).

    By matrix products they would be ten times as fast, and two equal vectors would lie apart.
    """
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cdist(values, reference, compute_mode=mode)


def nearest_distances(values: Tensor, reference: Tensor, count: int) -> Tensor:
    """Distances from the nearest vectors of a reference, ascending.

    Args:
        values: Shape (B, C).
        reference: Shape (N, C).
        count: How many of them, n, at most N.

    Returns:
        Shape (B, n). Memory is that of a thousand rows of distances.

    Raises:
        ValueError: If there are none: the score was not fitted.
    """
    if count < 1:
        raise ValueError(
            f"Neighbours should be sought among clean images. Found {len(reference)} of them. "
            "Fit the score first."
        )
    return torch.cat(
        [
            exact_distances(part, reference).topk(count, dim=1, largest=False).values
            for part in torch.split(values, _IMAGES_AT_ONCE)
        ]
    )


def some_of(values: Tensor, most: int) -> Tensor:
    """At most so many rows, the same ones each time, in their order.

    Args:
        values: Shape (N, C).
        most: How many at most, positive.
    """
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(values), generator=generator)[:most].sort().values
    return values[chosen.to(values.device)]
