"""From any image to what the network reads: one object for training, calibration and serving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from detector.errors import InvalidInputError

__all__ = ["CIFAR10_PREPROCESSING", "IMAGENET_PREPROCESSING", "Preprocessing"]

_LONGEST = 8
"""Times the shorter side: what lies further out is far outside of the centre crop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """Resize, centre crop and normalise.

    Args:
        height: Height of the network's input, pixels.
        width: Width of the network's input, pixels.
        shorter_side: Length to which the shorter side is resized before the centre crop, pixels.
        mean: Mean of each channel, red green blue, in [0, 1] pixel scale.
        std: Standard deviation of each channel, in [0, 1] pixel scale.

    Raises:
        ValueError: If the crop is empty or larger than what the resize leaves, or a standard
            deviation is not positive.
    """

    height: int
    width: int
    shorter_side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1:
            raise ValueError(
                f"height and width should be positive. Found {self.height} and {self.width}."
            )
        if not min(self.std) > 0:
            raise ValueError(f"std should be positive in each channel. Found {self.std}.")
        if self.shorter_side < max(self.height, self.width):
            raise ValueError(
                f"shorter_side should be at least {max(self.height, self.width)}, the larger side "
                f"of the crop. Found {self.shorter_side}."
            )

    def fit(self, image: Tensor) -> Tensor:
        """One uint8 image of any size, (3, H, W), at the size of the network's input.

        Raises:
            InvalidInputError: If the tensor is not a colour image of 8 bits a channel.
        """
        if image.dtype == torch.uint8 and tuple(image.shape) == (3, self.height, self.width):
            return image
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
            raise InvalidInputError(
                "An image should be a uint8 tensor of shape (3, H, W), H and W positive. "
                f"Found {image.dtype} of shape {tuple(image.shape)}."
            )
        if min(image.shape[1:]) != self.shorter_side:
            image = functional.resize(_middle(image), [self.shorter_side], antialias=True)
        cropped: Tensor = functional.center_crop(image, [self.height, self.width])
        return cropped

    def resized(self, side: int) -> Preprocessing:
        """The same for a square input of another size, which shows as much of each image.

        Args:
            side: Height and width of the network's input, pixels.

        Raises:
            InvalidInputError: If it is not positive.
        """
        if side < 1:
            raise InvalidInputError(
                f"The side of the network's input should be at least 1 pixel. Found {side}.",
                field="side",
            )
        shown = self.shorter_side / min(self.height, self.width)
        return replace(self, height=side, width=side, shorter_side=round(shown * side))

    def scale(self, images: Tensor) -> Tensor:
        """uint8 images as floats in [0, 1], the space in which attacks work."""
        return images.to(torch.float32) / 255

    def normalise(self, images: Tensor) -> Tensor:
        """Images in [0, 1], (B, 3, H, W), as the network reads them."""
        mean = torch.tensor(self.mean, device=images.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, 3, 1, 1)
        return (images - mean) / std

    def denormalise(self, images: Tensor) -> Tensor:
        """Images in [0, 1], (B, 3, H, W), that `normalise` has made these of."""
        mean = torch.tensor(self.mean, device=images.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, 3, 1, 1)
        return (images * std + mean).clamp(0, 1)  # rounding may have left the range

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 images of the network's input size, (B, 3, H, W), as the network reads them."""
        return self.normalise(self.scale(images))

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Preprocessing:
        """The object that `to_json` described.

        Raises:
            KeyError, TypeError or ValueError: If the fields describe none.
        """
        mean, std = (_three(fields[name]) for name in ("mean", "std"))
        return cls(**{**fields, "mean": mean, "std": std})


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue


def _middle(image: Tensor) -> Tensor:
    """The middle of a very long image; resized whole, one of 1 x 65 535 pixels fills gigabytes."""
    height, width = image.shape[1:]
    longest = _LONGEST * min(height, width)
    middle: Tensor = functional.center_crop(image, [min(height, longest), min(width, longest)])
    return middle


CIFAR10_PREPROCESSING = Preprocessing(
    height=32,
    width=32,
    shorter_side=32,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)
"""Statistics of the CIFAR-10 training images."""

IMAGENET_PREPROCESSING = Preprocessing(
    height=224,
    width=224,
    shorter_side=256,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
"""What torchvision's ImageNet weights expect."""
