"""VGG for small images: torchvision's features without the last pool, and one linear layer."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

__all__ = ["CifarVGG", "cifar_vgg19_bn"]


class CifarVGG(nn.Module):
    """VGG-19's convolutions with batch norm, global average pooling, one linear layer.

    Args:
        num_classes: Number of classes, K.

    Reference:
        Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015, configuration E.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.features = make_layers(cfgs["E"][:-1], batch_norm=True)
        self.classifier = nn.Linear(512, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Class logits, (B, 3, H, W) -> (B, K)."""
        logits: Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits


def cifar_vgg19_bn(num_classes: int = 10) -> CifarVGG:
    """VGG-19-BN for CIFAR: 15 gated layers, 5440 gates."""
    return CifarVGG(num_classes)
