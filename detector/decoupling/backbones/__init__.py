"""The backbones that Offpath knows by name; any other traceable classifier can be wrapped too."""

from __future__ import annotations

from enum import StrEnum

from torch import nn
from torchvision import models

from detector.decoupling.backbones.googlenet import CifarGoogLeNet, cifar_googlenet
from detector.decoupling.backbones.resnet import CifarResNet, resnet20, resnet56
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
]


class Backbone(StrEnum):
    """A backbone by name, as commands and bundles write it."""

    CIFAR_RESNET20 = "cifar-resnet20"
    CIFAR_RESNET56 = "cifar-resnet56"
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


def build_backbone(name: Backbone, num_classes: int) -> nn.Module:
    """A backbone with fresh weights.

    Args:
        name: Which backbone.
        num_classes: Number of classes, K.
    """
    match name:
        case Backbone.CIFAR_RESNET20:
            return resnet20(num_classes)
        case Backbone.CIFAR_RESNET56:
            return resnet56(num_classes)
        case Backbone.CIFAR_VGG19_BN:
            return cifar_vgg19_bn(num_classes)
        case Backbone.CIFAR_GOOGLENET:
            return cifar_googlenet(num_classes)
        case Backbone.RESNET18:
            return models.resnet18(num_classes=num_classes)
        case Backbone.RESNET34:
            return models.resnet34(num_classes=num_classes)
        case Backbone.RESNET50:
            return models.resnet50(num_classes=num_classes)
        case Backbone.VGG16:
            return models.vgg16(num_classes=num_classes)
        case Backbone.VGG16_BN:
            return models.vgg16_bn(num_classes=num_classes)
        case Backbone.GOOGLENET:
            return models.googlenet(num_classes=num_classes, aux_logits=False, init_weights=True)
