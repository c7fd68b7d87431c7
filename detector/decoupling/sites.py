"""Where a backbone can be gated, read from its traced graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch.fx
from torch import nn

from detector.errors import BackboneError
from detector.tracing import tracing

__all__ = ["GateSite", "find_gate_sites"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GateSite:
    """One convolution whose output channels can be closed.

    Args:
        convolution: Name of the convolution within the backbone; its input feeds the gates.
        output: Name of the module whose output is gated: the batch norm that alone follows
            the convolution, else the convolution itself.
        rectified: Whether only a ReLU follows. Gates and ReLU commute, so the gated tensor is
            then the rectified one, as in the paper.
    """

    convolution: str
    output: str
    rectified: bool


def find_gate_sites(backbone: nn.Module) -> tuple[GateSite, ...]:
    """Every convolution but the first, in the order of computation.

    Args:
        backbone: A network that torch.fx can trace and that calls each convolution once.

    Raises:
        BackboneError: If the network cannot be traced or has fewer than two convolutions.
    """
    try:
        with tracing():
            graph = torch.fx.symbolic_trace(backbone).graph
    except Exception as error:  # torch.fx raises whatever the traced code raises
        raise BackboneError(
            "The backbone should be traceable by torch.fx. "
            f"Found {type(backbone).__name__}, whose trace fails: {error}. "
            "Move data-dependent control flow out of its forward method."
        ) from error
    modules = dict(backbone.named_modules())
    convolutions = [
        node
        for node in graph.nodes
        if node.op == "call_module" and isinstance(modules[str(node.target)], nn.Conv2d)
    ]
    names = [str(node.target) for node in convolutions]
    if len(names) < 2 or len(set(names)) != len(names):
        raise BackboneError(
            "The backbone should have at least two 2-d convolutions, each called once. "
            f"Found {len(names)} calls of {len(set(names))} convolutions."
        )
    return tuple(_site(node, modules) for node in convolutions[1:])


def _site(node: torch.fx.Node, modules: dict[str, nn.Module]) -> GateSite:
    last = node
    follower = _only_user(node)
    if follower is not None and _module(follower, modules, nn.BatchNorm2d):
        last = follower
        follower = _only_user(follower)
    return GateSite(
        convolution=str(node.target),
        output=str(last.target),
        rectified=follower is not None and _is_relu(follower, modules),
    )


def _only_user(node: torch.fx.Node) -> torch.fx.Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def _module(node: torch.fx.Node, modules: dict[str, nn.Module], kind: type[nn.Module]) -> bool:
    return node.op == "call_module" and isinstance(modules[str(node.target)], kind)


def _is_relu(node: torch.fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_function":
        return node.target in {torch.relu, nn.functional.relu}
    if node.op == "call_method":
        return node.target == "relu"
    return _module(node, modules, nn.ReLU)
