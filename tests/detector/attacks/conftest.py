"""A tiny decoupled network and images that it classifies as their labels say."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from detector.decoupling import DecoupledNetwork
from detector.decoupling.backbones import CifarResNet
from detector.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(
    height=8, width=8, shorter_side=8, mean=(0.5, 0.45, 0.4), std=(0.25, 0.2, 0.3)
)


@dataclass(frozen=True, kw_only=True)
class Target:
    network: nn.Module
    preprocessing: Preprocessing
    pixels: Tensor
    labels: Tensor

    @property
    def images(self) -> Tensor:
        return self.preprocessing.scale(self.pixels)


def tiny_network() -> DecoupledNetwork:
    torch.manual_seed(0)
    network = DecoupledNetwork(CifarResNet(1, 4, widths=(8, 8, 8)))
    return network.eval()


@pytest.fixture
def target() -> Target:
    network = tiny_network()
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=generator)
    pixels[0, :, :4] = 255  # saturated pixels, as real photographs have them
    pixels[1, :, :4] = 0
    with torch.no_grad():
        labels = network(PREPROCESSING(pixels)).class_logits.argmax(dim=1)
    return Target(network=network, preprocessing=PREPROCESSING, pixels=pixels, labels=labels)


@pytest.fixture
def sharp_target(target: Target) -> Target:
    """Logits a hundred times as large: clean margins from 6 to 40, as trained networks have."""
    with torch.no_grad():
        target.network.backbone.fc.weight.mul_(100)
        target.network.backbone.fc.bias.mul_(100)
    return target


@pytest.fixture
def plain_target(target: Target) -> Target:
    torch.manual_seed(0)
    network = CifarResNet(1, 4, widths=(8, 8, 8)).eval()
    with torch.no_grad():
        labels = network(PREPROCESSING(target.pixels)).argmax(dim=1)
    return Target(network=network, preprocessing=PREPROCESSING, pixels=target.pixels, labels=labels)
