"""GoogLeNet for small images: no stem pooling, 5x5 kernels as two 3x3."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

__all__ = ["CifarGoogLeNet", "cifar_googlenet"]

_convolution = partial(Conv2dNormActivation, bias=True, inplace=False)


class _Inception(nn.Module):
    def __init__(
        self, channels: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: int
    ) -> None:
        super().__init__()
        self.branch1 = _convolution(channels, one, 1)
        self.branch3 = nn.Sequential(
            _convolution(channels, three[0], 1), _convolution(three[0], three[1], 3)
        )
        self.branch5 = nn.Sequential(
            _convolution(channels, five[0], 1),
            _convolution(five[0], five[1], 3),
            _convolution(five[1], five[1], 3),
        )
        self.branch_pool = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), _convolution(channels, pool, 1)
        )
        self.out_channels = one + three[1] + five[1] + pool

    def forward(self, features: Tensor) -> Tensor:
        branches = (self.branch1, self.branch3, self.branch5, self.branch_pool)
        return torch.cat([branch(features) for branch in branches], dim=1)


# One row a block: the four branches' widths, and whether a pool comes before it.
_BLOCKS: tuple[tuple[int, tuple[int, int], tuple[int, int], int, bool], ...] = (
    (64, (96, 128), (16, 32), 32, False),
    (128, (128, 192), (32, 96), 64, False),
    (192, (96, 208), (16, 48), 64, True),
    (160, (112, 224), (24, 64), 64, False),
    (128, (128, 256), (24, 64), 64, False),
    (112, (144, 288), (32, 64), 64, False),
    (256, (160, 320), (32, 128), 128, False),
    (256, (160, 320), (32, 128), 128, True),
    (384, (192, 384), (48, 128), 128, False),
)


class CifarGoogLeNet(nn.Module):
    """GoogLeNet whose stem is one 3x3 convolution.

    Args:
        num_classes: Number of classes, K.

    Reference:
        Szegedy et al., "Going Deeper with Convolutions", CVPR 2015.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = _convolution(3, 192, 3)
        layers: list[nn.Module] = []
        channels = 192
        for one, three, five, pool, downsample in _BLOCKS:
            if downsample:
                layers.append(nn.MaxPool2d(3, stride=2, padding=1))
            block = _Inception(channels, one, three, five, pool)
            layers.append(block)
            channels = block.out_channels
        self.blocks = nn.Sequential(*layers)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Class logits, (B, 3, H, W) -> (B, K)."""
        logits: Tensor = self.fc(self.blocks(self.stem(images)).mean(dim=(2, 3)))
        return logits


def cifar_googlenet(num_classes: int = 10) -> CifarGoogLeNet:
    """GoogLeNet for CIFAR: 63 gated layers, 7712 gates."""
    return CifarGoogLeNet(num_classes)
