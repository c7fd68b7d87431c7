"""Which gates close what a convolution reads: the way of channels from one to the next."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch.fx
from torch import Tensor, nn
from torch.nn import functional

from detector.decoupling.sites import GateSite
from detector.paths import PathLayout
from detector.tracing import tracing

__all__ = ["NO_GATE", "ChannelRun", "ConvolutionFlow", "channel_flow"]

NO_GATE = -1
"""Stands for the gate of a channel that none closes. As an index it means the last place: one that
is appended to the bits of a path, and always open."""

# What maps a channel of zeros to one of zeros and leaves all channels where they are.
_KEEPING_MODULES = (
    *(nn.Identity, nn.Dropout, nn.Dropout2d),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Tanh),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d),
)
_KEEPING = {
    *(torch.relu, functional.relu, functional.relu6, functional.leaky_relu, functional.gelu),
    *(functional.silu, functional.hardswish, torch.tanh, functional.dropout),
    *(functional.max_pool2d, functional.avg_pool2d, functional.adaptive_avg_pool2d),
    *("relu", "relu_", "tanh", "contiguous", "clone"),
}
_SUMS = {torch.add, operator.add, operator.iadd, "add", "add_"}
_JOINS = {torch.cat, torch.concat}
_NORMS = (nn.BatchNorm2d, nn.GroupNorm)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelRun:
    """Neighbouring channels of a feature map.

    Args:
        channels: How many they are.
        site: Index of the gate site that closes them, one gate a channel, all gates of the site in
            their order; None where they are computed whatever the path.
    """

    channels: int
    site: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvolutionFlow:
    """What closes the output and the input channels of one convolution.

    A closed input channel is zero at every pixel, so that the convolution need not read it.

    Args:
        convolution: Name of the convolution within the backbone.
        reads: Its input channels in their order; more than one run where branches are joined.
        writes: Its output channels.
    """

    convolution: str
    reads: tuple[ChannelRun, ...]
    writes: ChannelRun

    @property
    def site(self) -> int | None:
        """Index of the gate site that closes its output channels; None for the first one."""
        return self.writes.site

    @property
    def reads_gated(self) -> bool:
        """Whether a gate closes any of its input channels."""
        return any(run.site is not None for run in self.reads)

    def input_gates(self, layout: PathLayout) -> Tensor:
        """The gate of each input channel, int64 of shape (Cin,); `NO_GATE` where none closes it.

        Args:
            layout: Which gates belong to which site.
        """
        return torch.cat([_gates(run, layout) for run in self.reads])

    def output_gates(self, layout: PathLayout) -> Tensor:
        """The gate of each output channel, int64 of shape (Cout,); `NO_GATE` where none closes it.

        Args:
            layout: Which gates belong to which site.
        """
        return _gates(self.writes, layout)


def channel_flow(backbone: nn.Module, sites: Sequence[GateSite]) -> tuple[ConvolutionFlow, ...]:
    """Follow gated channels through a backbone to the convolutions that read them.

    They pass rectifiers, poolings and the joining of branches. Where they are added to others, or
    pass anything that is not known to keep zeros, no gate closes them any more: a channel may then
    be named open that is zero, never the other way round.

    Args:
        backbone: The network, which torch.fx can trace.
        sites: Its gate sites, as `find_gate_sites` finds them.

    Returns:
        Every convolution, in the order of computation.
    """
    with tracing():
        graph = torch.fx.symbolic_trace(backbone).graph
    modules = dict(backbone.named_modules())
    closed_by = {site.output: index for index, site in enumerate(sites)}
    site_of = {site.convolution: index for index, site in enumerate(sites)}
    runs: dict[torch.fx.Node, tuple[ChannelRun, ...]] = {}
    flows = []
    for node in graph.nodes:
        name = str(node.target)
        module = modules[name] if node.op == "call_module" else None
        if isinstance(module, nn.Conv2d):
            reads = runs.get(node.all_input_nodes[0], ())
            if sum(run.channels for run in reads) != module.in_channels:
                reads = _ungated(module.in_channels)
            writes = ChannelRun(channels=module.out_channels, site=site_of.get(name))
            flows.append(ConvolutionFlow(convolution=name, reads=reads, writes=writes))
        found = _runs(node, module, runs)
        if module is not None and name in closed_by:
            found = (ChannelRun(channels=_count(found), site=closed_by[name]),)
        if found:
            runs[node] = found
    return tuple(flows)


def _runs(
    node: torch.fx.Node,
    module: nn.Module | None,
    runs: dict[torch.fx.Node, tuple[ChannelRun, ...]],
) -> tuple[ChannelRun, ...]:
    """The channels of what a node computes; none where they are not known."""
    if isinstance(module, nn.Conv2d):
        return _ungated(module.out_channels)
    inputs = [runs.get(each, ()) for each in node.all_input_nodes] or [()]
    if isinstance(module, _KEEPING_MODULES) or (module is None and node.target in _KEEPING):
        return inputs[0]
    if isinstance(module, _NORMS) or (module is None and node.target in _SUMS):
        return _ungated(max(map(_count, inputs)))
    return _joined(node, runs) if node.target in _JOINS else ()


def _joined(
    node: torch.fx.Node, runs: dict[torch.fx.Node, tuple[ChannelRun, ...]]
) -> tuple[ChannelRun, ...]:
    tensors, dim = (*node.args, *node.kwargs.values(), 0)[:2]
    parts = [runs.get(part, ()) for part in tensors]  # type: ignore[arg-type, union-attr]  # nodes
    return tuple(run for part in parts for run in part) if dim == 1 and all(parts) else ()


def _ungated(channels: int) -> tuple[ChannelRun, ...]:
    return (ChannelRun(channels=channels, site=None),) if channels else ()


def _count(runs: tuple[ChannelRun, ...]) -> int:
    return sum(run.channels for run in runs)


def _gates(run: ChannelRun, layout: PathLayout) -> Tensor:
    if run.site is None:
        return torch.full((run.channels,), NO_GATE)
    part = layout.slices[run.site]
    return torch.arange(part.start, part.stop)
