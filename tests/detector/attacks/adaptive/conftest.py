"""A tiny decoupled network and a detector of confident images, which plain attacks make."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from detector.attacks.adaptive import Target
from detector.decoupling import DecoupledNetwork
from detector.decoupling.backbones import CifarResNet
from detector.preprocessing import Preprocessing
from detector.scoring.observation import Observation

PREPROCESSING = Preprocessing(
    height=8, width=8, shorter_side=8, mean=(0.5, 0.45, 0.4), std=(0.25, 0.2, 0.3)
)


class Confidence(nn.Module):
    """Margin of the predicted class, of the image and of its copies together."""

    def forward(self, seen: Observation) -> Tensor:
        return sum(_margin(each.class_logits) for each in (seen, *seen.copies.values()))


def _margin(logits: Tensor) -> Tensor:
    first, second = logits.topk(2, dim=1).values.unbind(dim=1)
    return first - second


class Levels:
    """Flags what is above a level that depends on the budget, whatever the class."""

    def __init__(self, level: float) -> None:
        self.level = level

    def __call__(self, scores: Tensor, predicted: Tensor, alpha: float) -> Tensor:
        return scores > self.level * (1.1 - alpha)


def photographs(count: int) -> Tensor:
    """Smooth images, uint8 of shape (count, 3, 8, 8)."""
    coarse = torch.rand(count, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    smooth = functional.interpolate(coarse, (8, 8), mode="bilinear")
    return (smooth * 255).round().to(torch.uint8)


def make_target(clean: Tensor) -> Target:
    torch.manual_seed(0)
    network = DecoupledNetwork(CifarResNet(1, 4, widths=(8, 8, 8))).eval()
    with torch.no_grad():
        seen = [network(PREPROCESSING(each)).class_logits for each in (clean, clean.flip(3))]
    # The median of clean images: half of them are more confident than that.
    level = float(sum(_margin(logits) for logits in seen).median())
    return Target(
        network=network,
        preprocessing=PREPROCESSING,
        score=Confidence(),
        flags=Levels(level),
        copies=("flip",),
    )


@pytest.fixture(scope="package")
def images() -> Tensor:
    return photographs(40)[:6]


@pytest.fixture
def target() -> Target:
    return make_target(photographs(40))


@pytest.fixture(scope="package")
def shared() -> Target:
    """For tests that leave it as it is."""
    return make_target(photographs(40))


@pytest.fixture(scope="package")
def labels(shared: Target, images: Tensor) -> Tensor:
    with torch.no_grad():
        return shared.network(PREPROCESSING(images)).class_logits.argmax(dim=1)
