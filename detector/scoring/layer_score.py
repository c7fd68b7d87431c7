"""What every layer score keeps: how far each layer's part of a path lies from a class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from detector.errors import CalibrationError
from detector.paths import PathLayout, PathVectors
from detector.scoring.blocks import layer_indicator
from detector.scoring.statistics import PathStatistics

__all__ = ["LayerDeviation", "LayerScore"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerDeviation:
    """How strange each layer's part of each path is; higher is more suspicious.

    Args:
        own: Distance from the predicted class, float of shape (B, L).
        margin: The same less the distance from the other class that the whole path fits best,
            float of shape (B, L): positive where the layer fits that other class better.
    """

    own: Tensor
    margin: Tensor


class LayerScore(nn.Module, ABC):
    r"""Distance of a path from each class, layer by layer.

    A subclass turns a path into a vector v of one value a gate. Distances are affine in it, but
    for a part that all classes share:

    .. math:: d_l(c) = \sum_{g \in l} W_{cg} v_g + b_{cl} + shared_l

    so that all classes and all layers are scored by a few matrix products. The fitted state is
    the module's ``state_dict``.

    Args:
        layout: Which gates belong to which layer.
        classes: Number of classes, K, at least 2.
    """

    weight: Tensor
    bias: Tensor
    indicator: Tensor

    def __init__(self, layout: PathLayout, classes: int) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"A layer score should have at least 2 classes. Found {classes}.")
        self.layout = layout
        self.classes = classes
        self.register_buffer("weight", torch.zeros(classes, layout.gates))
        self.register_buffer("bias", torch.zeros(classes, layout.layers))
        self.register_buffer("indicator", layer_indicator(layout), persistent=False)

    def fit(self, statistics: PathStatistics) -> Self:
        """Learn how clean paths of each class look.

        Args:
            statistics: Sums over clean paths, at least one of each class.

        Returns:
            The same object, fitted.

        Raises:
            ValueError: If the statistics are of another layout or number of classes.
            CalibrationError: If a class has no path.
        """
        if statistics.layout != self.layout or statistics.classes != self.classes:
            raise ValueError(
                f"Statistics should be of {self.layout.gates} gates and {self.classes} classes. "
                f"Found {statistics.layout.gates} and {statistics.classes}."
            )
        empty = torch.nonzero(statistics.counts < 1).flatten().tolist()
        if empty:
            raise CalibrationError(
                "Each class should have at least one clean path. "
                f"Found none of class {', '.join(map(str, empty))}. Extract more images."
            )
        weight, bias = self._fit(statistics)
        self.weight.copy_(weight)
        self.bias.copy_(bias)
        return self

    def forward(self, path: PathVectors, predicted: Tensor) -> LayerDeviation:
        """Score a batch.

        Args:
            path: The paths, with the layout of this score.
            predicted: Predicted class of each image, int64 of shape (B,), in 0..K-1.

        Raises:
            ValueError: If the paths have another layout or the classes another shape.
        """
        if path.layout != self.layout or predicted.shape != (len(path),):
            raise ValueError(
                f"Paths should have {self.layout.gates} gates and one predicted class each. "
                f"Found {path.layout.gates} gates, {len(path)} paths and classes of shape "
                f"{tuple(predicted.shape)}."
            )
        values = self._values(path)  # (B, G)
        total = torch.addmm(self.bias.sum(dim=1), values, self.weight.T)  # (B, K)
        total.scatter_(1, predicted.unsqueeze(1), torch.inf)
        pair = torch.cat([predicted, total.argmin(dim=1)])  # (2 B): own, then best other
        weight = self.weight.index_select(0, pair).view(2, *values.shape)
        bias = self.bias.index_select(0, pair).view(2, len(path), self.layout.layers)
        distance = self._by_layer(values * weight) + bias  # (2, B, L)
        shared = self._shared(values)
        own = distance[0] if shared is None else distance[0] + shared
        return LayerDeviation(own=own, margin=distance[0] - distance[1])

    @abstractmethod
    def _fit(self, statistics: PathStatistics) -> tuple[Tensor, Tensor]:
        """W, shape (K, G), and b, shape (K, L)."""

    @abstractmethod
    def _values(self, path: PathVectors) -> Tensor:
        """v, float of shape (B, G)."""

    def _shared(self, values: Tensor) -> Tensor | None:  # noqa: ARG002 - some classes share nothing
        """The part of the distance that all classes share, shape (B, L), if there is one."""
        return None

    def _by_layer(self, values: Tensor) -> Tensor:
        """Sums over each layer, (..., G) -> (..., L)."""
        return values @ self.indicator.to(values.dtype)
