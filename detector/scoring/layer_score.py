"""What every layer score keeps: how far each layer's part of a path lies from a class."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from detector.paths import PathLayout, PathVectors
from detector.row_blocks import scored_in_blocks
from detector.scoring.blocks import layer_indicator
from detector.scoring.observation import Observation
from detector.scoring.score import CleanImages, Score
from detector.scoring.statistics import PathStatistics

__all__ = ["ALL_LAYERS", "MARGIN", "OWN", "LayerDeviation", "LayerScore"]

OWN = "own"
"""How far a layer lies from the predicted class."""

MARGIN = "margin"
"""How much further than from the other class that the whole path fits best."""

ALL_LAYERS = "all"
"""In the place of a layer's name: the sum over all layers, each in its own units."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerDeviation:
    """How strange each layer's part of each path is; higher is more suspicious.

    Args:
        own: Distance from the predicted class, float of shape (B, L).
        margin: The same less the distance from the other class that the whole path fits best,
            float of shape (B, L): positive where the layer fits that other class better.
        other: That other class, int64 of shape (B,).
    """

    own: Tensor
    margin: Tensor
    other: Tensor


class LayerScore(Score):
    r"""Distance of a path from each class, layer by layer.

    A subclass turns a path into a vector v of one value a gate. Distances are affine in it, but
    for a part that all classes share:

    .. math:: d_l(c) = \sum_{g \in l} W_{cg} v_g + b_{cl} + shared_l

    so that all classes and all layers are scored by a few matrix products. Each layer's distance
    is given in units of its spread over clean images; then the sum over layers.

    Args:
        layout: Which gates belong to which layer.
        classes: Number of classes, K, at least 2.
    """

    weight: Tensor
    bias: Tensor
    centre: Tensor
    scale: Tensor
    indicator: Tensor

    def __init__(self, layout: PathLayout, classes: int) -> None:
        super().__init__(layout, classes)
        self.register_buffer("weight", torch.zeros(classes, layout.gates))
        self.register_buffer("bias", torch.zeros(classes, layout.layers))
        self.register_buffer("centre", torch.zeros(2, layout.layers))
        self.register_buffer("scale", torch.ones(2, layout.layers))
        self.register_buffer("indicator", layer_indicator(layout), persistent=False)

    @property
    @override
    def names(self) -> tuple[str, ...]:
        places = (*self.layout.names, ALL_LAYERS)
        return tuple(f"{aspect}:{place}" for aspect in (OWN, MARGIN) for place in places)

    @override
    def _fit(self, clean: CleanImages) -> None:
        weight, bias = self._affine(clean.statistics)
        self.weight.copy_(weight)
        self.bias.copy_(bias)
        found = self.deviation(clean.sample.path, clean.labels)
        both = torch.stack([found.own, found.margin])  # (2, N, L)
        spread = both.std(dim=1, correction=0)
        self.centre.copy_(both.mean(dim=1))
        # A distance that never varies says nothing: leave its scale as it is.
        self.scale.copy_(torch.where(spread > 1e-6, spread, 1.0))

    @override
    def _score(self, seen: Observation) -> Tensor:
        both, _ = self._own_and_margin(seen.path, seen.predicted)
        standard = (both - self.centre) / self.scale
        return torch.cat([standard, standard.sum(dim=2, keepdim=True)], dim=2).flatten(1)

    def deviation(self, path: PathVectors, predicted: Tensor) -> LayerDeviation:
        """Distances in the score's own units.

        Args:
            path: The paths, with the layout of this score.
            predicted: Class that each image is held against, int64 of shape (B,), in 0..K-1.
        """
        both, other = self._own_and_margin(path, predicted)
        own, margin = both.unbind(dim=1)
        return LayerDeviation(own=own, margin=margin, other=other)

    def _own_and_margin(self, path: PathVectors, predicted: Tensor) -> tuple[Tensor, Tensor]:
        """Distance from the class and margin side by side, (B, 2, L), and the best other class."""
        values = self._values(path)  # (B, G)
        total = scored_in_blocks(self._along_classes, values) + self.bias.sum(dim=1)  # (B, K)
        others = total.detach().scatter(1, predicted.unsqueeze(1), torch.inf)
        other = others.argmin(dim=1)
        weight, bias = self.weight.index_select(0, predicted), self.bias.index_select(0, predicted)
        away = weight - self.weight.index_select(0, other)
        along = torch.stack([self._with_shared(values, weight), away], dim=1)  # (B, 2, G)
        # What all classes share is in the same product: it is no further one.
        sums = scored_in_blocks(self._by_layer, along * values.unsqueeze(1))
        offsets = torch.stack([bias, bias - self.bias.index_select(0, other)], dim=1)
        return sums + offsets, other

    def _along_classes(self, values: Tensor) -> Tensor:
        return torch.mm(values, self.weight.T)

    @abstractmethod
    def _affine(self, statistics: PathStatistics) -> tuple[Tensor, Tensor]:
        """W, shape (K, G), and b, shape (K, L)."""

    @abstractmethod
    def _values(self, path: PathVectors) -> Tensor:
        """v, float of shape (B, G)."""

    def _with_shared(self, values: Tensor, weight: Tensor) -> Tensor:  # noqa: ARG002 - some classes share nothing
        """What each value is multiplied by, (B, G): the class's weights and what all share."""
        return weight

    def _by_layer(self, values: Tensor) -> Tensor:
        """Sums over each layer, (..., G) -> (..., L)."""
        return values @ self.indicator.to(values.dtype)
