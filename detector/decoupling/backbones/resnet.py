"""The thin residual networks for CIFAR-10, which torchvision lacks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CifarResNet", "resnet20", "resnet56", "wide_resnet8"]


class _Shortcut(nn.Module):
    """Option A: every second pixel, and zeros for the new channels; no parameters."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels = new_channels
        self.stride = stride

    def forward(self, features: Tensor) -> Tensor:
        thinned = features[:, :, :: self.stride, :: self.stride]
        half = self.new_channels // 2
        return functional.pad(thinned, (0, 0, 0, 0, half, self.new_channels - half))


class _BasicBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = _Shortcut(out_channels - in_channels, stride)

    def forward(self, features: Tensor) -> Tensor:
        inner = torch.relu(self.bn1(self.conv1(features)))
        return torch.relu(self.bn2(self.conv2(inner)) + self.shortcut(features))


class CifarResNet(nn.Module):
    """Residual network of ``6 * blocks_per_stage + 2`` layers for small images.

    Args:
        blocks_per_stage: Blocks in each of the three stages; 1 gives ResNet-8, 3 ResNet-20, 9
            ResNet-56.
        num_classes: Number of classes, K.
        widths: Channels of the three stages.

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.
    """

    def __init__(
        self,
        blocks_per_stage: int,
        num_classes: int = 10,
        *,
        widths: tuple[int, int, int] = (16, 32, 64),
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        stages = []
        channels = widths[0]
        for width, stride in zip(widths, (1, 2, 2), strict=True):
            blocks = []
            for index in range(blocks_per_stage):
                blocks.append(_BasicBlock(channels, width, stride if index == 0 else 1))
                channels = width
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = stages
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Class logits, (B, 3, H, W) -> (B, K)."""
        features = torch.relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        logits: Tensor = self.fc(features.mean(dim=(2, 3)))
        return logits


def resnet20(num_classes: int = 10) -> CifarResNet:
    """ResNet-20 for CIFAR: 18 gated layers, 672 gates."""
    return CifarResNet(3, num_classes)


def resnet56(num_classes: int = 10) -> CifarResNet:
    """ResNet-56 for CIFAR: 54 gated layers, 2016 gates."""
    return CifarResNet(9, num_classes)


def wide_resnet8(num_classes: int = 10) -> CifarResNet:
    """ResNet-8 for CIFAR, eight times as wide: 6 gated layers, 1280 gates.

    The last stage is four times as wide: its maps are small, and its weights would be most of all.

    Reference:
        Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016.
    """
    return CifarResNet(1, num_classes, widths=(128, 256, 256))
