"""The sizes that a backbone's convolutions and linear layers work at, found without running it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from detector.decoupling.network import DecoupledNetwork
from detector.errors import BackboneError, InvalidInputError
from detector.tracing import tracing

__all__ = ["LayerShape", "layer_shapes"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerShape:
    """The sizes of one layer for one image.

    Args:
        name: Name of the layer within the backbone.
        pair: Multiplications of one output channel that reads one input channel.
        in_channels: Channels that it reads.
        out_channels: Channels that it writes.
        groups: Groups of channels that read only their own.
        values_read: Numbers in the feature map that it reads.
    """

    name: str
    pair: int
    in_channels: int
    out_channels: int
    groups: int
    values_read: int

    @property
    def multiplications(self) -> int:
        """Those of the whole layer."""
        return self.pair * self.in_channels * self.out_channels // self.groups


def layer_shapes(network: DecoupledNetwork, *, height: int, width: int) -> tuple[LayerShape, ...]:
    """The sizes of every convolution and linear layer of a backbone, in the order of computation.

    Args:
        network: The network, in any mode and on any device.
        height: Height of its input, pixels.
        width: Its width, pixels.

    Raises:
        InvalidInputError: If the network cannot look at images of this size.
        BackboneError: If it multiplies elsewhere too, where nothing would be counted.
    """
    backbone = _without_memory(network).backbone
    found: list[LayerShape] = []
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(_noting(name, found))
    # torch's counter watches the modules of all threads while it counts.
    with tracing(), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        _look(backbone, height, width)
    elsewhere = counter.get_total_flops() // 2 - sum(layer.multiplications for layer in found)
    if elsewhere:
        raise BackboneError(
            "The backbone should multiply in 2-d convolutions and linear layers alone, each a "
            f"module. Found {elsewhere:,} multiplications elsewhere, which no gate would be seen "
            "to spare. Make modules of them."
        )
    return tuple(found)


def _without_memory(network: DecoupledNetwork) -> DecoupledNetwork:
    """A copy whose weights are shapes alone, so that it can be looked into beside who computes."""
    shapes: dict[int, Any] = {
        id(weight): nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=False)
        for weight in network.parameters()
    }
    shapes |= {id(each): torch.empty_like(each, device="meta") for each in network.buffers()}
    return copy.deepcopy(network, shapes).eval()


def _noting(name: str, found: list[LayerShape]) -> Callable[[nn.Module, Any, Tensor], None]:
    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        found.append(_shape(name, module, inputs[0], output))

    return note


def _shape(name: str, module: nn.Module, read: Tensor, written: Tensor) -> LayerShape:
    if isinstance(module, nn.Conv2d):
        channels, groups = (module.in_channels, module.out_channels), module.groups
        pair = written[0, 0].numel() * math.prod(module.kernel_size)
    else:
        channels, groups = (read.shape[-1], written.shape[-1]), 1
        pair = written[..., 0].numel()
    return LayerShape(
        name=name,
        pair=pair,
        in_channels=channels[0],
        out_channels=channels[1],
        groups=groups,
        values_read=read.numel(),
    )


def _look(backbone: nn.Module, height: int, width: int) -> None:
    try:
        backbone(torch.empty(1, 3, height, width, device="meta"))
    except RuntimeError as error:
        raise InvalidInputError(
            f"The network should be able to read images of {height} x {width} pixels. Found that "
            f"it is not: {error}. Count it for larger ones.",
            field="height",
        ) from error
