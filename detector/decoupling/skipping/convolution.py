"""Convolutions that compute some of their filters from some of their channels."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from detector.decoupling.skipping.features import Features

__all__ = ["Convolution", "FoldedConvolution", "OpaqueConvolution", "folded"]

_LARGEST_UNFOLDED = 2**18
"""Numbers of an unfolded map that are in memory at once, 1 MiB: what lies in a core's own cache is
multiplied faster, and memory stays flat in the size of images."""


class Convolution(ABC):
    """A convolution and the batch norm behind it, for one image."""

    skips = False
    """Whether it can leave out filters and channels."""

    @abstractmethod
    def every(self, features: Features) -> Tensor:
        """All filters of all channels, shape (1, Cout, H', W')."""


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
    r"""A convolution that has taken in its batch norm, and knows its rows and columns.

    Some filters of some channels are one product of matrices: the open rows and columns of the
    weights, laid out as (Cout, Cin, kh kw), times the unfolded map. Convolution libraries compile a
    kernel for each new shape, and paths bring new shapes all the time; products have no such price,
    and gathering a filter's 3 x 3 numbers for a channel at once costs little.

    Args:
        weight: Shape (Cout, Cin, kh, kw).
        bias: Shape (Cout,).
        stride: Of height and width.
        padding: Zeros on each side of height and width.
        dilation: Of height and width.
    """

    skips = True

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        *,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
    ) -> None:
        self._weight = weight.contiguous()
        self._bias = bias
        self._stride, self._padding, self._dilation = stride, padding, dilation
        filters, channels, *kernel = weight.shape
        self._channels = channels
        self._kernel = (kernel[0], kernel[1])
        self._rows = self._weight.view(filters, -1)  # (Cout, Cin kh kw)
        self._pieces = self._weight.view(filters * channels, -1)  # (Cout Cin, kh kw)
        self._is_pointwise = self._kernel == stride == (1, 1) and padding == (0, 0)

    @override
    def every(self, features: Features) -> Tensor:
        return functional.conv2d(
            features.dense(), self._weight, self._bias, self._stride, self._padding, self._dilation
        )

    def some(self, features: Features, filters: Tensor) -> Tensor:
        """Some filters of all channels.

        Args:
            features: The map, (1, Cin, H, W).
            filters: Which filters, int64 of shape (F,).

        Returns:
            Shape (1, F, H', W').
        """
        weights = self._rows.index_select(0, filters)
        return self._product(features.dense(), weights, filters)

    def some_of_open(self, features: Features, filters: Tensor) -> Tensor:
        """The same of the channels that are kept alone; the others are zero."""
        channels = features.open_channels
        if channels is None:
            return self.some(features, filters)
        pieces = torch.add(channels, filters.unsqueeze(1), alpha=self._channels)  # (F, C')
        weights = self._pieces.index_select(0, pieces.view(-1)).view(len(filters), -1)
        return self._product(features.kept, weights, filters)

    def _product(self, kept: Tensor, weights: Tensor, filters: Tensor) -> Tensor:
        bias = self._bias.index_select(0, filters).unsqueeze(1)
        _, channels, height, width = kept.shape
        if self._is_pointwise:
            product = torch.addmm(bias, weights, kept.view(channels, -1))
            return product.view(1, -1, height, width)
        vertical, horizontal = self._padding
        if vertical or horizontal:
            kept = functional.pad(kept, (horizontal, horizontal, vertical, vertical))
        out_height, out_width = (
            (size - dilation * (kernel - 1) - 1) // stride + 1
            for size, dilation, kernel, stride in zip(
                kept.shape[2:], self._dilation, self._kernel, self._stride, strict=True
            )
        )
        band = max(1, _LARGEST_UNFOLDED // (weights.shape[1] * out_width))
        if band >= out_height:
            columns = self._unfolded(kept, 0, out_height, out_width)
            return torch.addmm(bias, weights, columns).view(1, -1, out_height, out_width)
        product = kept.new_empty(len(weights), out_height * out_width)
        for first in range(0, out_height, band):
            rows = min(band, out_height - first)
            columns = self._unfolded(kept, first, rows, out_width)
            place = product[:, first * out_width : (first + rows) * out_width]
            torch.addmm(bias, weights, columns, out=place)
        return product.view(1, -1, out_height, out_width)

    def _unfolded(self, padded: Tensor, first: int, rows: int, width: int) -> Tensor:
        """What each filter sees at each place of some rows, shape (C' kh kw, rows width)."""
        _, channel, row, column = padded.stride()
        down, right = self._stride
        size = (padded.shape[1], *self._kernel, rows, width)
        stride = (
            channel,
            row * self._dilation[0],
            column * self._dilation[1],
            row * down,
            column * right,
        )
        windows = padded.as_strided(size, stride, padded.storage_offset() + first * down * row)
        return windows.reshape(-1, rows * width)


@torch.no_grad()
def folded(convolution: nn.Conv2d, norm: nn.Module | None) -> Convolution:
    r"""A convolution and its batch norm as one.

    .. math:: w' = w \gamma / \sqrt{v + \epsilon}, \quad b' = (b - \mu) \gamma / \sqrt{v + \epsilon}
        + \beta

    Args:
        convolution: In evaluation mode.
        norm: What is between it and the gates: a batch norm, or nothing.
    """
    parts = [convolution] if norm is None else [convolution, norm]
    if not (_is_plain(convolution) and (norm is None or _is_fixed(norm))):
        return OpaqueConvolution(*parts)
    weight = convolution.weight.double()
    bias = weight.new_zeros(len(weight)) if convolution.bias is None else convolution.bias.double()
    if isinstance(norm, nn.BatchNorm2d):
        scale, shift = _affine(norm)
        weight, bias = weight * scale[:, None, None, None], bias * scale + shift
    return FoldedConvolution(
        weight.to(convolution.weight.dtype),
        bias.to(convolution.weight.dtype),
        stride=_pair(convolution.stride),
        padding=_pair(convolution.padding),
        dilation=_pair(convolution.dilation),
    )


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What a batch norm multiplies by and adds in evaluation mode, each of shape (C,)."""
    assert norm.running_mean is not None  # noqa: S101  # `_is_fixed` says so
    assert norm.running_var is not None  # noqa: S101
    scale = torch.rsqrt(norm.running_var.double() + norm.eps)
    if norm.affine:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift + norm.bias.double() if norm.affine else shift


def _is_plain(convolution: nn.Conv2d) -> bool:
    # A subclass, or a parametrised one, may compute anything.
    return (
        type(convolution) is nn.Conv2d
        and convolution.groups == 1
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
    )


def _is_fixed(norm: nn.Module) -> bool:
    return type(norm) is nn.BatchNorm2d and norm.running_mean is not None and not norm.training


def _pair(value: object) -> tuple[int, int]:
    height, width = value if isinstance(value, tuple) else (value, value)
    return int(height), int(width)
