"""A plain network in the shape of a decoupled one: every gate is open, whatever the image."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from detector.decoupling.gates import ControllingModule
from detector.decoupling.network import DecoupledNetwork

__all__ = ["OPEN_LOGIT", "always_open", "is_always_open"]

OPEN_LOGIT = 1000.0
"""Gate logit of a gate that never closes.

So far from zero that relaxed gates, up to a temperature of 10, are 1 to the last bit, and so are
the noisy gates of training; and still a number that 16 bits can hold.
"""


def always_open(backbone: nn.Module) -> DecoupledNetwork:
    """Wrap a plain network so that it computes what it did, and shows its activations.

    Class logits and gradients are those of the backbone to the last bit, in each way through the
    gates; pooled activations are the plain network's. What reads paths runs on it unchanged.

    Args:
        backbone: A classifier (B, 3, H, W) -> (B, K) that torch.fx can trace.

    Returns:
        The network, in the backbone's mode and on its device.

    Raises:
        BackboneError: If the backbone cannot be traced or has too few convolutions.
    """
    network = DecoupledNetwork(backbone)
    for controller in _controllers(network):
        for parameter in controller.parameters():
            nn.init.zeros_(parameter)
        nn.init.constant_(controller.excite.bias, OPEN_LOGIT)
    network.controllers.to(next(backbone.parameters()))
    # Not train(): parts of the backbone may be in a mode of their own.
    network.training = backbone.training
    return network


def is_always_open(network: nn.Module) -> bool:
    """Whether a network is a plain one that `always_open` wrapped, be it loaded from a file."""
    return isinstance(network, DecoupledNetwork) and all(
        bool((controller.excite.bias >= OPEN_LOGIT).all())
        and not bool(torch.any(controller.excite.weight))
        for controller in _controllers(network)
    )


def _controllers(network: DecoupledNetwork) -> list[ControllingModule]:
    return [cast("ControllingModule", controller) for controller in network.controllers]
