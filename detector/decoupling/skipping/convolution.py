"""Convolutions that compute some of their filters from some of their channels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import torch
from torch import Tensor, nn
from typing_extensions import override

from detector.decoupling.skipping.features import Features
from detector.decoupling.skipping.windows import Windows

__all__ = ["Convolution", "FoldedConvolution", "OpaqueConvolution"]

_CHEAP_WEIGHTS = 4
"""A weight costs about as much to lay out anew as so many numbers of a map cost to unfold."""


class Convolution(ABC):
    """A convolution and the batch norm behind it, for one image."""

    @abstractmethod
    def every(self, features: Features) -> Tensor:
        """All filters of all channels, shape (1, Cout, H', W')."""

    def by_pixel(self, values: Tensor) -> Tensor:
        """The same, all filters of a pixel beside each other in memory.

        Args:
            values: All channels, shape (1, Cin, H, W).
        """
        return self.every(Features.of(values)).contiguous(memory_format=torch.channels_last)


class OpaqueConvolution(Convolution):
    """One that is computed as it is: grouped, padded with something else than zeros, subclassed.

    Args:
        modules: The convolution and what follows it before the gates.
    """

    def __init__(self, *modules: nn.Module) -> None:
        self._modules = modules

    @override
    def every(self, features: Features) -> Tensor:
        value = features.dense()
        for module in self._modules:
            value = module(value)
        return value.contiguous()


class FoldedConvolution(Convolution):
    """A convolution that has taken in its batch norm, and knows its rows and columns.

    Args:
        weight: Shape (Cout, Cin, kh, kw).
        bias: Shape (Cout,).
        windows: Where the filters look.
    """

    def __init__(self, weight: Tensor, bias: Tensor, windows: Windows) -> None:
        self._weight = weight.contiguous()
        self._bias = bias
        self._windows = windows
        self._filters, self._channels, *_ = weight.shape

    @override
    def every(self, features: Features) -> Tensor:
        return self._windows.convolution(features.dense(), self._weight, self._bias)

    @override
    def by_pixel(self, values: Tensor) -> Tensor:
        weight = self._weight.contiguous(memory_format=torch.channels_last)
        values = values.contiguous(memory_format=torch.channels_last)
        return self._windows.convolution(values, weight, self._bias)

    def convolved(self, features: Features, filters: Tensor) -> Tensor:
        """Some filters of all channels, by the library's convolution.

        Args:
            features: The map, (1, Cin, H, W).
            filters: Which filters, int64 of shape (F,).

        Returns:
            Shape (1, F, H', W').
        """
        weights = self._weight.index_select(0, filters)
        return self._windows.convolution(features.dense(), weights, self._biases(filters))

    def multiplied(self, features: Features, filters: Tensor) -> Tensor:
        """The same as a product of matrices."""
        weights, bias = self._whole.index_select(0, filters), self._biases(filters)
        if self._windows.shares_rows:
            return self._windows.product_by_rows(features.dense(), weights, bias)
        return self._windows.product(features.dense(), weights, bias)

    def convolved_open(self, features: Features, filters: Tensor) -> Tensor:
        """Some filters of the channels that are kept alone, as the others are zero."""
        if features.open_channels is None:
            return self.convolved(features, filters)
        weights = self._gathered(filters, features.open_channels)
        return self._windows.convolution(features.kept, weights, self._biases(filters))

    def multiplied_open(self, features: Features, filters: Tensor) -> Tensor:
        """The same as a product of matrices."""
        if features.open_channels is None:
            return self.multiplied(features, filters)
        weights = self._gathered(filters, features.open_channels)
        windows, bias = self._windows, self._biases(filters)
        below, across = windows.size(*features.kept.shape[2:])
        if windows.shares_rows and _CHEAP_WEIGHTS * len(filters) < below * across:
            by_rows = weights.transpose(1, 2).reshape(len(filters), windows.kernel[0], -1)
            return windows.product_by_rows(features.kept, by_rows, bias)
        return windows.product(features.kept, weights.view(len(filters), -1), bias)

    def _gathered(self, filters: Tensor, channels: Tensor) -> Tensor:
        """Weights of some filters for some channels, shape (F, C', kh, kw)."""
        places = filters.unsqueeze(1).mul(self._channels).add(channels)  # (F, C')
        pieces = self._pieces.index_select(0, places.view(-1))
        return pieces.view(*places.shape, *self._windows.kernel)

    def _biases(self, filters: Tensor) -> Tensor:
        return self._bias.index_select(0, filters)

    @cached_property
    def _whole(self) -> Tensor:
        """Filters one behind the other, as `Windows` multiplies them."""
        if not self._windows.shares_rows:
            return self._weight.view(self._filters, -1)
        by_rows = self._weight.transpose(1, 2).contiguous()  # (Cout, kh, Cin, kw)
        return by_rows.view(self._filters, self._windows.kernel[0], -1)

    @cached_property
    def _pieces(self) -> Tensor:
        """A filter's numbers for one channel are one row: gathered at once, they cost little."""
        return self._weight.view(self._filters * self._channels, -1)
