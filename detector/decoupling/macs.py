"""What a decoupled network multiplies for one image, by the rule of the paper.

The rule counts what may be left out by looking at gates alone. What skipping really saves differs:

- It may save more. A channel of a sum whose summands are all closed is zero, and so is what a
  linear layer reads of a closed channel; the rule counts both as read.
- It mostly saves less. Additions, normalisation, rectifiers, gathering the open channels and moving
  memory are no multiplications and take time. Images of one batch have different paths, and a
  channel can be left out for all of them only where none opens it. Modules pad batches to blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from detector.decoupling.channel_flow import ChannelRun, ConvolutionFlow, channel_flow
from detector.decoupling.gates import ControllingModule
from detector.decoupling.layer_shapes import LayerShape, layer_shapes
from detector.decoupling.network import DecoupledNetwork
from detector.decoupling.open_channels import OpenChannels
from detector.paths import PathLayout

__all__ = ["LayerMacs", "MacCount", "ModuleMacs"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModuleMacs:
    """What one controlling module multiplies for an image, whatever its path.

    Args:
        pool: Values of the feature map that it averages, Cin H W. They are only added: counted as
            multiplications too, they bound its cost from above.
        linear: Weights of its two linear layers.
    """

    pool: int
    linear: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.pool + self.linear


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerMacs:
    """What one layer of the backbone multiplies for an image.

    Args:
        name: Name of the convolution or linear layer within the backbone.
        dense: Multiplications where every gate is open.
        pair: Those of one output channel that reads one input channel: H W k^2 of a convolution.
        groups: Groups of channels that read only their own.
        flow: What closes its channels; None for a linear layer, which reads and writes all.
        module: Its controlling module; None for a layer that is not gated.
    """

    name: str
    dense: int
    pair: int
    groups: int
    flow: ConvolutionFlow | None
    module: ModuleMacs | None


@dataclass(frozen=True, kw_only=True)  # no slots: what is made once stays in its dictionary
class MacCount:
    r"""Multiply-accumulate operations of a decoupled network, exactly, image by image.

    .. math:: \sum_l H_l W_l k_l^2 \sum_{i \in in(l)} z_i \sum_{o \in out(l)} z_o + \sum_l m_l

    with z the gates, 1 where none closes a channel, and m the modules. An input channel counts as
    closed where it comes from a gated tensor that was not added to another one since. Layers that
    are not gated count in full, as do linear ones; biases, batch norm and sums do not count.

    Args:
        layout: Which gates belong to which layer.
        layers: Every convolution and linear layer, in the order of computation.

    Reference:
        Li et al., "Interpretable Neural Network Decoupling", ECCV 2020: the rule behind its figures
        of acceleration as we read it, for the released code has no counter.
    """

    layout: PathLayout
    layers: tuple[LayerMacs, ...]

    @classmethod
    def of(cls, network: DecoupledNetwork, *, height: int, width: int) -> MacCount:
        """The count of a network, which is not run: shapes alone are followed.

        Args:
            network: The network, in any mode and on any device.
            height: Height of its input, pixels.
            width: Its width, pixels.

        Raises:
            InvalidInputError: If the network cannot look at images of this size.
            BackboneError: If it multiplies elsewhere than in 2-d convolutions and linear layers.
        """
        flows = {flow.convolution: flow for flow in channel_flow(network.backbone, network.sites)}
        shapes = layer_shapes(network, height=height, width=width)
        layers = tuple(_layer(shape, flows.get(shape.name), network) for shape in shapes)
        return cls(layout=network.layout, layers=layers)

    @property
    def plain(self) -> int:
        """Multiplications of the backbone without gates, for any image."""
        return sum(layer.dense for layer in self.layers)

    @property
    def modules(self) -> ModuleMacs:
        """All controlling modules together."""
        found = [layer.module for layer in self.layers if layer.module is not None]
        return ModuleMacs(
            pool=sum(module.pool for module in found),
            linear=sum(module.linear for module in found),
        )

    def kept(self, bits: Tensor) -> Tensor:
        """Multiplications that each layer is left with, without its module, int64 (B, layers).

        Args:
            bits: Which gates are open, bool of shape (B, G).

        Raises:
            ValueError: If type or shape are others.
        """
        if bits.dtype != torch.bool or bits.ndim != 2 or bits.shape[1] != self.layout.gates:
            raise ValueError(
                f"bits should be bool of shape (B, {self.layout.gates}). "
                f"Found {bits.dtype} of shape {tuple(bits.shape)}."
            )
        read, written = self._open_channels(bits)
        kept = (read * written * self._pairs.to(bits.device)).to(torch.int64)
        if any(layer.groups > 1 for layer in self.layers):
            # The last place stands for channels that no gate closes.
            is_open = torch.cat([bits, bits.new_ones(len(bits), 1)], dim=1)
            for index, layer in enumerate(self.layers):
                if layer.flow is not None and layer.groups > 1:
                    kept[:, index] = _kept_by_groups(layer, layer.flow, is_open, self.layout)
        return kept

    def total(self, bits: Tensor) -> Tensor:
        """Multiplications of the whole network for each image, modules included, int64 of (B,).

        Args:
            bits: Which gates are open, bool of shape (B, G).

        Raises:
            ValueError: If type or shape are others.
        """
        return self.kept(bits).sum(dim=1) + self.modules.total

    @cached_property
    def _open_channels(self) -> OpenChannels:
        return OpenChannels([_channels(layer) for layer in self.layers], self.layout)

    @cached_property
    def _pairs(self) -> Tensor:
        return torch.tensor([layer.pair for layer in self.layers], dtype=torch.float64)


def _layer(shape: LayerShape, flow: ConvolutionFlow | None, network: DecoupledNetwork) -> LayerMacs:
    module = None
    if flow is not None and flow.site is not None:
        controller = cast("ControllingModule", network.controllers[flow.site])
        module = ModuleMacs(
            pool=shape.values_read,
            linear=controller.squeeze.weight.numel() + controller.excite.weight.numel(),
        )
    return LayerMacs(
        name=shape.name,
        dense=shape.multiplications,
        pair=shape.pair,
        groups=shape.groups,
        flow=flow,
        module=module,
    )


def _channels(layer: LayerMacs) -> tuple[tuple[ChannelRun, ...], ChannelRun]:
    """What a layer reads and writes; a linear one reads all its pairs at once and writes one."""
    if layer.flow is None:
        every = layer.dense // layer.pair
        return (ChannelRun(channels=every, site=None),), ChannelRun(channels=1, site=None)
    return layer.flow.reads, layer.flow.writes


def _kept_by_groups(
    layer: LayerMacs, flow: ConvolutionFlow, is_open: Tensor, layout: PathLayout
) -> Tensor:
    """Multiplications of a layer whose groups read only their own channels, int64 of shape (B,)."""
    read = _open_by_groups(is_open, flow.input_gates(layout), layer.groups)
    written = _open_by_groups(is_open, flow.output_gates(layout), layer.groups)
    return layer.pair * (read * written).sum(dim=1)


def _open_by_groups(is_open: Tensor, gates: Tensor, groups: int) -> Tensor:
    """How many channels of each group are open, int64 of shape (B, groups)."""
    chosen = is_open[:, gates.to(is_open.device)]  # (B, C)
    return chosen.reshape(len(chosen), groups, len(gates) // groups).sum(dim=2)
