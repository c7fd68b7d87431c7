import pytest
import torch
from torch import nn

from detector.decoupling import DecoupledNetwork
from detector.decoupling.backbones import CifarResNet


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def backbone():
    """A residual network small enough to compute by hand: 6 gated layers, 36 gates."""
    network = CifarResNet(1, num_classes=5, widths=(4, 6, 8))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training, not the identity
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return network.eval()


@pytest.fixture
def network(backbone):
    """Decoupled, in evaluation mode, with gates of both states."""
    decoupled = DecoupledNetwork(backbone)
    for controller in decoupled.controllers:
        nn.init.normal_(controller.excite.weight)
        nn.init.zeros_(controller.excite.bias)
    return decoupled.eval()


@pytest.fixture
def images():
    return torch.randn(6, 3, 12, 10)
