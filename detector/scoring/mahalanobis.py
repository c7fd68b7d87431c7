"""How far gate logits or pooled activations lie from the mean of a class."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from detector.paths import PathLayout, PathVectors
from detector.row_blocks import scored_in_blocks
from detector.scoring.blocks import equal_layers
from detector.scoring.layer_score import LayerScore
from detector.scoring.statistics import Moments, PathStatistics

__all__ = ["ActivationDistance", "GateLogitDistance", "GateParts", "oas_shrinkage"]

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


@dataclass(frozen=True, kw_only=True, slots=True)
class GateParts:
    """What each gate has in the squared distances of paths from a class.

    Args:
        parts: Float of shape (B, G); sums over layers are `LayerDeviation.own` but for rounding.
        means: Mean of what is measured over clean images of the class, shape (B, G).
    """

    parts: Tensor
    means: Tensor


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
    places: Tensor

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
        self.register_buffer("places", order.argsort(), persistent=False)

    def gate_parts(self, path: PathVectors, classes: Tensor) -> GateParts:
        r"""Each gate's part of the squared distances from a class: they add up to those exactly.

        .. math:: d_l(c) = \sum_{g \in l} (x - \mu_c)_g \, (\Sigma_l^{-1} (x - \mu_c))_g

        The second factor tells how far the gate is from where the class and the other gates of its
        layer would have it. A part is negative where the gate is off in the direction in which
        these explain it.

        Args:
            path: The paths, with the layout of this score.
            classes: Class that each is held against, int64 of shape (B,), in 0..K-1.
        """
        means = self._class_means(classes)
        away = self._vectors(path).to(self.weight.dtype) - means
        pulls = [
            group.take(away) @ blocks @ blocks.mT
            for group, blocks in zip(self.groups, self._blocks(), strict=True)
        ]
        return GateParts(parts=away * self._in_order(pulls), means=means)

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
        return scored_in_blocks(self._whitened, centred)

    def _whitened(self, centred: Tensor) -> Tensor:
        """Values less their mean over all classes, (B, G), with the same spread everywhere."""
        return _side_by_side(
            [
                torch.bmm(group.take(centred), blocks)
                for group, blocks in zip(self.groups, self._blocks(), strict=True)
            ]
        )

    @override
    def _with_shared(self, values: Tensor, weight: Tensor) -> Tensor:
        return values + weight

    def _class_means(self, classes: Tensor) -> Tensor:
        """Mean of what is measured over the clean images of some classes, (B,) -> (B, G)."""
        whitened = self.weight.index_select(0, classes) / -2  # (B, G), group by group
        widths = [len(group.gates) for group in self.groups]
        parts = [
            # The axes of a whitening stand at right angles: its inverse is its transpose, scaled.
            (_as_layers(part, blocks) / blocks.square().sum(dim=1, keepdim=True)) @ blocks.mT
            for part, blocks in zip(
                torch.split(whitened, widths, dim=1), self._blocks(), strict=True
            )
        ]
        return self.origin + self._in_order(parts)

    def _blocks(self) -> list[Tensor]:
        """Whitening of each group of equal layers, (n, C, C)."""
        return [self.get_buffer(f"whitening{index}") for index in range(len(self.groups))]

    def _in_order(self, parts: list[Tensor]) -> Tensor:
        """Groups of equal layers, each (n, B, C), as one (B, G) in the order of the layout."""
        return _side_by_side(parts).index_select(1, self.places)

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


def _as_layers(values: Tensor, blocks: Tensor) -> Tensor:
    """A group of equal layers, (B, n C), as (n, B, C)."""
    return values.reshape(len(values), len(blocks), -1).transpose(0, 1)


def _side_by_side(parts: list[Tensor]) -> Tensor:
    """Groups of equal layers, each (n, B, C), as one (B, G)."""
    return torch.cat([part.transpose(0, 1).flatten(1) for part in parts], dim=1)
