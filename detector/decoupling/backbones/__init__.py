"""The backbones that Offpath knows by name; any other traceable classifier can be wrapped too."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from torch import nn
from torchvision import models

from detector.decoupling.backbones.googlenet import CifarGoogLeNet, cifar_googlenet
from detector.decoupling.backbones.resnet import (
    CifarResNet,
    resnet20,
    resnet56,
    wide_resnet8,
)
from detector.decoupling.backbones.vgg import CifarVGG, cifar_vgg19_bn

__all__ = [
    "Backbone",
    "CifarGoogLeNet",
    "CifarResNet",
    "CifarVGG",
    "build_backbone",
    "cifar_googlenet",
    "cifar_vgg19_bn",
    "resnet20",
    "resnet56",
    "wide_resnet8",
]


class Backbone(StrEnum):
    """A backbone by name, as commands and bundles write it."""

    CIFAR_RESNET20 = "cifar-resnet20"
    CIFAR_RESNET56 = "cifar-resnet56"
    CIFAR_WIDE_RESNET8 = "cifar-wide-resnet8"
    CIFAR_VGG19_BN = "cifar-vgg19-bn"
    CIFAR_GOOGLENET = "cifar-googlenet"
    RESNET18 = "resnet18"
    RESNET34 = "resnet34"
    RESNET50 = "resnet50"
    VGG16 = "vgg16"
    VGG16_BN = "vgg16-bn"
    GOOGLENET = "googlenet"

    @property
    def starts_input_independent(self) -> bool:
        """Whether the paper starts this network's gates alike for every image."""
        return not self.startswith("cifar-") or "vgg" in self


def _googlenet(num_classes: int) -> nn.Module:
    # The weights that torchvision offers were trained behind this transform of the input.
    network: nn.Module = models.googlenet(
        num_classes=num_classes, aux_logits=False, init_weights=True, transform_input=True
    )
    return network


_BUILDERS: dict[Backbone, Callable[[int], nn.Module]] = {
    Backbone.CIFAR_RESNET20: resnet20,
    Backbone.CIFAR_RESNET56: resnet56,
    Backbone.CIFAR_WIDE_RESNET8: wide_resnet8,
    Backbone.CIFAR_VGG19_BN: cifar_vgg19_bn,
    Backbone.CIFAR_GOOGLENET: cifar_googlenet,
    Backbone.RESNET18: lambda classes: models.resnet18(num_classes=classes),
    Backbone.RESNET34: lambda classes: models.resnet34(num_classes=classes),
    Backbone.RESNET50: lambda classes: models.resnet50(num_classes=classes),
    Backbone.VGG16: lambda classes: models.vgg16(num_classes=classes),
    Backbone.VGG16_BN: lambda classes: models.vgg16_bn(num_classes=classes),
    Backbone.GOOGLENET: _googlenet,
}


def build_backbone(name: Backbone, num_classes: int) -> nn.Module:
    """A backbone with fresh weights.

    Args:
        name: Which backbone.
        num_classes: Number of classes, K.
    """
    return _BUILDERS[name](num_classes)
