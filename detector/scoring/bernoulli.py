"""How likely the open and closed gates are for an image of a class."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from detector.paths import PathLayout, PathVectors
from detector.scoring.layer_score import LayerScore
from detector.scoring.statistics import PathStatistics

__all__ = ["BernoulliScore"]

_EXTREME = 0.01


class BernoulliScore(LayerScore):
    r"""Negative log-likelihood of each layer's bits, gates taken as independent given the class.

    .. math:: d_l(c) = -\sum_{g \in l} z_g \log p_{cg} + (1 - z_g) \log (1 - p_{cg}), \qquad
              p_{cg} = \frac{open_{cg} + \kappa \bar p_l}{n_c + \kappa}

    in nats. The rates are shrunken toward the layer's mean, so that twenty images of a class do.
    Gates that are always closed stay in: one that opens all the same is a strong sign.

    Args:
        layout: Which gates belong to which layer.
        classes: Number of classes, K.
        kappa: Number of images that the layer's mean counts for, positive.
    """

    def __init__(self, layout: PathLayout, classes: int, *, kappa: float = 10.0) -> None:
        super().__init__(layout, classes)
        if not kappa > 0:
            raise ValueError(f"kappa should be positive. Found {kappa}.")
        self.kappa = kappa

    @property
    def open_rates(self) -> Tensor:
        """Share of clean images of each class that open each gate, p, shape (K, G)."""
        return torch.sigmoid(-self.weight)

    def open_shares(self, classes: Tensor) -> Tensor:
        """Share of the clean images of some classes in which each gate is open, shrunken as above.

        Args:
            classes: The classes, int64 of shape (B,), in 0..K-1.

        Returns:
            In (0, 1), float of shape (B, G).
        """
        return self.open_rates.index_select(0, classes)

    @override
    def _affine(self, statistics: PathStatistics) -> tuple[Tensor, Tensor]:
        sizes = torch.tensor(self.layout.sizes, dtype=torch.float64)
        opened = self._by_layer(statistics.open_counts.sum(dim=0))  # (L,)
        mean = (opened / (sizes * statistics.counts.sum())).clamp(_EXTREME, 1 - _EXTREME)
        prior = self.kappa * mean[self.layout.layer_of_gate()]  # (G,)
        rates = (statistics.open_counts + prior) / (statistics.counts + self.kappa).unsqueeze(1)
        return -torch.logit(rates), -self._by_layer(torch.log1p(-rates))

    @override
    def _values(self, path: PathVectors) -> Tensor:
        return path.bits.to(self.weight.dtype)
