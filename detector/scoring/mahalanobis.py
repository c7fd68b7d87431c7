"""How far gate logits or pooled activations lie from the mean of a class."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from typing_extensions import override

from detector.paths import PathLayout, PathVectors
from detector.scoring.blocks import equal_layers
from detector.scoring.layer_score import LayerScore
from detector.scoring.statistics import Moments, PathStatistics

__all__ = ["ActivationDistance", "GateLogitDistance", "oas_shrinkage"]

_LEAST_SHRINKAGE = 0.01
"""Channels that never vary would otherwise count without bound."""


def oas_shrinkage(covariance: Tensor, samples: float) -> Tensor:
    """How far to shrink covariances toward multiples of the identity.

    Args:
        covariance: Empirical covariances, shape (..., C, C).
        samples: Number of vectors that they were estimated from.

    Returns:
        Shares in [0, 1], shape (...).

    Reference:
        Chen et al., "Shrinkage Algorithms for MMSE Covariance Estimation", 2010, in the form of
        scikit-learn's ``oas``.
    """
    size = covariance.shape[-1]
    spread = covariance.square().mean(dim=(-2, -1))
    level = (covariance.diagonal(dim1=-2, dim2=-1).mean(dim=-1)).square()
    excess = (samples + 1) * (spread - level / size)
    return torch.where(excess > 0, (spread + level) / excess, torch.inf).clamp(max=1)


class _Mahalanobis(LayerScore):
    r"""Squared distance from each class mean in units of the spread within classes.

    .. math:: d_l(c) = \lVert A_l (x_l - \mu_{cl}) \rVert^2, \qquad A_l^T A_l = \Sigma_l^{-1}

    One covariance a layer for all classes, shrunken toward a multiple of the identity. The path is
    whitened once; what remains is affine in the whitened path, but for its own squared length.

    Args:
        layout: Which gates belong to which layer.
        classes: Number of classes, K.

    Reference:
        Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and
        Adversarial Attacks", NeurIPS 2018.
    """

    origin: Tensor

    def __init__(self, layout: PathLayout, classes: int) -> None:
        super().__init__(layout, classes)
        self.groups = equal_layers(layout)
        self.register_buffer("origin", torch.zeros(layout.gates))
        for index, group in enumerate(self.groups):
            blocks = torch.zeros(len(group.layers), group.size, group.size)
            self.register_buffer(f"whitening{index}", blocks)
        order = torch.cat([group.gates for group in self.groups])
        # Whitened values stand group by group: what is summed over layers is put in that order.
        self.indicator = self.indicator[order]

    @override
    def _affine(self, statistics: PathStatistics) -> tuple[Tensor, Tensor]:
        moments = self._moments(statistics)
        total = float(statistics.counts.sum())
        centre = moments.sums.sum(dim=0) / total  # (G,)
        means = moments.sums / statistics.counts.unsqueeze(1)  # (K, G)
        self.origin.copy_(centre)
        whitened = []
        for index, group in enumerate(self.groups):
            mean = group.take(means)  # (n, K, C)
            between = (mean.transpose(1, 2) * statistics.counts) @ mean
            whitening = _inverse_root((moments.products[index] - between) / total, total)
            self.get_buffer(f"whitening{index}").copy_(whitening)
            whitened.append(group.take(means - centre) @ whitening)
        means = _side_by_side(whitened)
        return -2 * means, self._by_layer(means.square())

    @override
    def _values(self, path: PathVectors) -> Tensor:
        centred = self._vectors(path).to(self.weight.dtype) - self.origin
        return _side_by_side(
            [
                group.take(centred) @ self.get_buffer(f"whitening{index}")
                for index, group in enumerate(self.groups)
            ]
        )

    @override
    def _shared(self, values: Tensor) -> Tensor:
        return self._by_layer(values.square())

    @staticmethod
    @abstractmethod
    def _vectors(path: PathVectors) -> Tensor:
        """What is measured, shape (B, G)."""

    @staticmethod
    @abstractmethod
    def _moments(statistics: PathStatistics) -> Moments:
        """Its moments."""


class GateLogitDistance(_Mahalanobis):
    """Mahalanobis distance of the gate logits, the values before binarisation."""

    @staticmethod
    @override
    def _vectors(path: PathVectors) -> Tensor:
        return path.logits

    @staticmethod
    @override
    def _moments(statistics: PathStatistics) -> Moments:
        return statistics.logits


class ActivationDistance(_Mahalanobis):
    """Mahalanobis distance of the pooled activations of the gated channels."""

    @staticmethod
    @override
    def _vectors(path: PathVectors) -> Tensor:
        return path.activations

    @staticmethod
    @override
    def _moments(statistics: PathStatistics) -> Moments:
        return statistics.activations


def _inverse_root(covariance: Tensor, samples: float) -> Tensor:
    """Root of the inverse of each shrunken covariance, shape (n, C, C)."""
    share = oas_shrinkage(covariance, samples).clamp(min=_LEAST_SHRINKAGE)[:, None, None]
    level = covariance.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
    # A layer whose gates are all constant still needs a scale: any positive one will do.
    level = level.clamp(min=torch.finfo(torch.float32).eps)
    identity = torch.eye(covariance.shape[1], dtype=covariance.dtype)
    values, vectors = torch.linalg.eigh((1 - share) * covariance + share * level * identity)
    floor = 1e-3 * _LEAST_SHRINKAGE * level.squeeze(2)
    whitening: Tensor = vectors * values.clamp(min=floor).rsqrt().unsqueeze(1)
    return whitening


def _side_by_side(parts: list[Tensor]) -> Tensor:
    """Groups of equal layers, each (n, B, C), as one (B, G)."""
    return torch.cat([part.transpose(0, 1).flatten(1) for part in parts], dim=1)
