"""Takes a batch norm into the convolution before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detector.decoupling.skipping.convolution import (
    Convolution,
    FoldedConvolution,
    OpaqueConvolution,
)
from detector.decoupling.skipping.windows import Windows

__all__ = ["folded"]


@torch.no_grad()
def folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d | None) -> Convolution:
    r"""A convolution and the batch norm behind it as one.

    .. math:: w' = w \gamma / \sqrt{v + \epsilon}, \quad b' = (b - \mu) \gamma / \sqrt{v + \epsilon}
        + \beta

    Args:
        convolution: In evaluation mode.
        norm: What alone follows it, if that is a batch norm.
    """
    if not (_is_plain(convolution) and (norm is None or _is_fixed(norm))):
        return OpaqueConvolution(*([convolution] if norm is None else [convolution, norm]))
    weight = convolution.weight.double()
    bias = weight.new_zeros(len(weight)) if convolution.bias is None else convolution.bias.double()
    if norm is not None:
        scale, shift = _affine(norm)
        weight, bias = weight * scale[:, None, None, None], bias * scale + shift
    dtype = convolution.weight.dtype
    windows = Windows(
        kernel=_pair(convolution.kernel_size),
        stride=_pair(convolution.stride),
        padding=_pair(convolution.padding),
        dilation=_pair(convolution.dilation),
    )
    return FoldedConvolution(weight.to(dtype), bias.to(dtype), windows)


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What a batch norm multiplies by and adds, each of shape (C,)."""
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale = torch.rsqrt(variance.double() + norm.eps)
    if not norm.affine:
        return scale, -mean.double() * scale
    scale = scale * norm.weight.double()
    return scale, norm.bias.double() - mean.double() * scale


def _is_plain(convolution: nn.Conv2d) -> bool:
    # A subclass, or a parametrised one, may compute anything.
    return (
        type(convolution) is nn.Conv2d
        and convolution.groups == 1
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
    )


def _is_fixed(norm: nn.BatchNorm2d) -> bool:
    return type(norm) is nn.BatchNorm2d and norm.running_mean is not None


def _pair(value: object) -> tuple[int, int]:
    height, width = value if isinstance(value, tuple) else (value, value)
    return int(height), int(width)
