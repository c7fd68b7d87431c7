"""What is counted about clean paths: small, and summed over any number of batches or machines."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from detector.paths import PathLayout, PathVectors
from detector.scoring.blocks import equal_layers

__all__ = ["Moments", "PathStatistics"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Sums from which class means and one covariance a layer follow.

    Args:
        sums: Sum of the vectors of each class, float64 of shape (K, G).
        products: Sum of the outer products of all vectors, for each group of equal layers float64
            of shape (n, C, C).
    """

    sums: Tensor
    products: tuple[Tensor, ...]

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            sums=self.sums + other.sums,
            products=tuple(a + b for a, b in zip(self.products, other.products, strict=True)),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PathStatistics:
    """Sums over clean paths, class by class; the statistics of two batches can be added.

    Args:
        layout: Which gates belong to which layer.
        counts: Number of paths of each class, float64 of shape (K,).
        open_counts: How often each gate was open, float64 of shape (K, G).
        logits: Moments of the gate logits.
        activations: Moments of the pooled activations.
    """

    layout: PathLayout
    counts: Tensor
    open_counts: Tensor
    logits: Moments
    activations: Moments

    @classmethod
    def of(cls, path: PathVectors, labels: Tensor, classes: int) -> PathStatistics:
        """The statistics of one batch.

        Args:
            path: Paths of clean images.
            labels: Class of each image, int64 of shape (B,), in 0..K-1.
            classes: Number of classes, K.
        """
        member = functional.one_hot(labels, classes).to(torch.float64).T  # (K, B)
        return cls(
            layout=path.layout,
            counts=member.sum(dim=1),
            open_counts=member @ path.bits.to(torch.float64),
            logits=_moments(path.logits, member, path.layout),
            activations=_moments(path.activations, member, path.layout),
        )

    def __add__(self, other: PathStatistics) -> PathStatistics:
        if self.layout != other.layout:
            raise ValueError("PathStatistics of one layout should be added. Found two layouts.")
        return PathStatistics(
            layout=self.layout,
            counts=self.counts + other.counts,
            open_counts=self.open_counts + other.open_counts,
            logits=self.logits + other.logits,
            activations=self.activations + other.activations,
        )

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return len(self.counts)


def _moments(values: Tensor, member: Tensor, layout: PathLayout) -> Moments:
    values = values.to(torch.float64)
    parts = [group.take(values) for group in equal_layers(layout)]
    return Moments(
        sums=member @ values,
        products=tuple(part.transpose(1, 2) @ part for part in parts),
    )
