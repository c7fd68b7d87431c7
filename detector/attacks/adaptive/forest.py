"""Trees with soft splits: a smooth score that becomes the hard one as they sharpen."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detector.scoring.trees import TreeEnsemble

__all__ = ["SoftForest"]


class SoftForest(nn.Module):
    r"""Expected score of an ensemble whose splits are drawn with the chance of a sigmoid.

    A node that compares feature f with threshold b sends a row to the right with the chance
    :math:`\sigma((x_f - b) / T)`; a leaf is reached with the product of the chances on its way,

    .. math:: s(x) = offset + \sum_{leaves} value \prod_{way} \sigma(\pm (x_f - b) / T),

    exactly, without sampling. For T to 0 it becomes the ensemble's own score, except where a
    feature equals a threshold.

    Args:
        ensemble: The hard trees.
        temperature: Softness T of the splits, in units of the features, positive.

    Raises:
        ValueError: If the temperature is not positive.
    """

    def __init__(self, ensemble: TreeEnsemble, temperature: float) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature should be positive. Found {temperature}.")
        self.ensemble = ensemble
        self.temperature = temperature
        self._levels = _levels(ensemble.left, ensemble.roots)

    def forward(self, values: Tensor) -> Tensor:
        """Expected score of each row.

        Args:
            values: Features, float of shape (B, F), soft bits among them.

        Returns:
            float64 of shape (B,), with gradients.
        """
        trees = self.ensemble
        total = trees.offset.expand(len(values))
        reached = values.new_ones(len(values), len(trees.roots), dtype=torch.float64)
        for leaves, leaf, inner in self._levels:
            total = total + reached[:, leaf] @ trees.value[leaves]
            gap = values[:, trees.feature[inner]].to(torch.float64) - trees.threshold[inner]
            # Of both signs, not one minus the other, which would lose small chances.
            chances = torch.stack([-gap, gap], dim=2).div(self.temperature).sigmoid()
            reached = (reached[:, ~leaf, None] * chances).flatten(1)
        return total


def _levels(left: Tensor, roots: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Of each level of all trees, siblings side by side: leaves, where they stand, other nodes."""
    nodes, levels = roots, []
    while len(nodes):
        leaf = left[nodes] == nodes
        inner = nodes[~leaf]
        levels.append((nodes[leaf], leaf, inner))
        nodes = torch.stack([left[inner], left[inner] + 1], dim=1).flatten()
    return levels
