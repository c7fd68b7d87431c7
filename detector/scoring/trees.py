"""Fitted tree ensembles as plain arrays, evaluated for a whole batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["TreeArrays", "TreeEnsemble"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeArrays:
    """One decision tree; its root is node 0.

    Args:
        feature: Feature that each node compares, int64 of shape (N,); anything in leaves.
        threshold: A node goes left where ``feature <= threshold``, float64 of shape (N,).
        left: Left child of each node, int64 of shape (N,); -1 in leaves.
        right: Right child of each node, int64 of shape (N,); -1 in leaves.
        value: What a leaf adds to the score, float64 of shape (N,).
    """

    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    value: Tensor


class TreeEnsemble(nn.Module):
    r"""Sum of the leaves that an image falls into, :math:`s(x) = offset + \sum_t leaf_t(x)`.

    All trees walk down together, one level a step: nodes are numbered so that a right child
    follows its left sibling, and leaves lead to themselves.

    Args:
        feature: Feature that each node of all trees compares, int64 of shape (N,).
        threshold: A node goes right where the feature is greater, float32 of shape (N,).
        left: Left child of each node, int64 of shape (N,).
        value: What a leaf adds to the score, float64 of shape (N,).
        roots: First node of each tree, int64 of shape (T,).
        offset: Score without any tree, float64 of shape ().

    Raises:
        ValueError: If the arrays are not a forest.
    """

    feature: Tensor
    threshold: Tensor
    left: Tensor
    value: Tensor
    roots: Tensor
    offset: Tensor

    def __init__(
        self,
        *,
        feature: Tensor,
        threshold: Tensor,
        left: Tensor,
        value: Tensor,
        roots: Tensor,
        offset: Tensor,
    ) -> None:
        super().__init__()
        self.depth = _depth(feature, threshold, left, value, roots)
        self.register_buffer("feature", feature)
        self.register_buffer("threshold", threshold)
        self.register_buffer("left", left)
        self.register_buffer("value", value)
        self.register_buffer("roots", roots)
        self.register_buffer("offset", offset)

    @classmethod
    def of(cls, trees: list[TreeArrays], *, offset: float = 0.0) -> TreeEnsemble:
        """The ensemble of some trees.

        Args:
            trees: At least one tree.
            offset: Score without any tree.
        """
        parts = [_renumbered(tree) for tree in trees]
        sizes = torch.tensor([len(part.feature) for part in parts])
        roots = sizes.cumsum(0) - sizes
        return cls(
            feature=torch.cat([part.feature for part in parts]),
            threshold=torch.cat([_rounded_down(part.threshold) for part in parts]),
            left=torch.cat([part.left + root for part, root in zip(parts, roots, strict=True)]),
            value=torch.cat([part.value for part in parts]),
            roots=roots,
            offset=torch.tensor(offset, dtype=torch.float64),
        )

    @property
    def features(self) -> int:
        """Least number of features that the trees can read."""
        return int(self.feature.max()) + 1

    def forward(self, values: Tensor) -> Tensor:
        """Score of each row.

        Args:
            values: Features, float32 of shape (B, F).

        Returns:
            float64 of shape (B,): summed in double precision, so that the order of the sum does
            not show.
        """
        shape = (len(values), len(self.roots))
        node = self.roots.repeat(len(values))  # (B T), flat: index_select is the fastest lookup
        for _ in range(self.depth):
            feature = self.feature.index_select(0, node).view(shape)
            right = values.gather(1, feature).view(-1) > self.threshold.index_select(0, node)
            node = self.left.index_select(0, node) + right
        return self.value.index_select(0, node).view(shape).sum(dim=1) + self.offset


def _depth(feature: Tensor, threshold: Tensor, left: Tensor, value: Tensor, roots: Tensor) -> int:
    """Number of levels below the roots."""
    nodes = torch.arange(len(feature))
    leaf = left == nodes
    children = left[~leaf]
    fits = (
        len(feature) == len(threshold) == len(left) == len(value)
        and len(feature) > 0
        and len(roots) > 0
        and int(feature.min()) >= 0
        and bool(((roots >= 0) & (roots < len(feature))).all())
        # Children stand behind their parents, so that every walk ends.
        and bool(((children > nodes[~leaf]) & (children + 1 < len(feature))).all())
        and bool((threshold[leaf] == torch.inf).all())
    )
    if not fits:
        raise ValueError(
            "A tree ensemble should be arrays of equal length whose children stand behind their "
            "parents. Found other arrays. Fit and save it again."
        )
    depth = 0
    front = roots
    while not bool(leaf[front].all()):
        inner = left[front[~leaf[front]]]
        front = torch.unique(torch.cat([inner, inner + 1]))
        depth += 1
    return depth


def _renumbered(tree: TreeArrays) -> TreeArrays:
    """The same tree, level by level and siblings side by side; leaves lead to themselves."""
    order = [0]
    left = []
    for place, node in enumerate(order):  # grows while it is read
        if int(tree.left[node]) < 0:
            left.append(place)
        else:
            left.append(len(order))
            order += [int(tree.left[node]), int(tree.right[node])]
    chosen = torch.tensor(order)
    children = torch.tensor(left)
    leaf = children == torch.arange(len(order))
    return TreeArrays(
        feature=torch.where(leaf, 0, tree.feature[chosen]),
        threshold=torch.where(leaf, torch.inf, tree.threshold[chosen]),
        left=children,
        right=torch.where(leaf, children, children + 1),
        value=tree.value[chosen],
    )


def _rounded_down(threshold: Tensor) -> Tensor:
    """The largest float32 that is not above: compares with float32 features exactly alike."""
    rounded = threshold.to(torch.float32)
    lower = torch.nextafter(rounded, torch.tensor(-torch.inf))
    return torch.where(rounded.to(torch.float64) > threshold, lower, rounded)
