"""Networks as after training: batch norms that are not the identity, gates of both states."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from detector.decoupling import DecoupledNetwork


@pytest.fixture
def decouple() -> Callable[..., DecoupledNetwork]:
    """Wraps a backbone; about half of its gates open, and which ones depends on the image."""

    def make(backbone: nn.Module, *, bias: float = 0.0) -> DecoupledNetwork:
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.2, 0.2)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                if module.affine:
                    nn.init.uniform_(module.weight, 0.5, 1.5)
                    nn.init.uniform_(module.bias, -0.2, 0.2)
        network = DecoupledNetwork(backbone)
        for controller in network.controllers:
            nn.init.normal_(controller.excite.weight)
            nn.init.constant_(controller.excite.bias, bias)
        return network.eval()

    return make


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
