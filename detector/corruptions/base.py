"""What every corruption keeps; a subclass only computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from detector.corruptions.draws import Draws
from detector.corruptions.names import CorruptionName
from detector.errors import InvalidInputError

__all__ = ["Corruption", "eight_bit"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Corruption(ABC):
    """Spoils images as weather, cameras and files do; an immutable description, free of state.

    What is random depends on a seed and on an image's place alone, never on the images beside it,
    and all is computed on the CPU: the same images on every machine. Images that come in are never
    changed. Subclasses are frozen dataclasses with `kind` and `_corrupt`.

    The severities are those of CIFAR-10-C, made for images of about 32 pixels a side: larger ones
    pass, but their blurs are weaker to the eye. Beyond its edge an image is mirrored throughout,
    and values are rounded to the nearest of 8 bits (the original cuts them off).

    Args:
        severity: How bad, in 1..5.

    Reference:
        Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions
        and Perturbations", ICLR 2019.
    """

    severity: int

    kind: ClassVar[CorruptionName]

    def __post_init__(self) -> None:
        if self.severity not in range(1, 6):
            raise InvalidInputError(
                f"The severity of {self.kind} should be one of 1 to 5. Found {self.severity}. "
                f"Write it as {self.kind}:3.",
                field="severity",
            )

    @property
    def name(self) -> str:
        """The text from which `detector.corruptions.parse_corruption` makes this corruption."""
        return f"{self.kind}:{self.severity}"

    def __call__(self, images: Tensor, *, seed: int = 0, first: int = 0) -> Tensor:
        """Corrupted images.

        Args:
            images: uint8 of shape (B, 3, H, W), none of H and W zero, on any device.
            seed: Fixes, with each image's place, what is random; not negative.
            first: Place of the first image, not negative; the others follow it. Batches of one
                data set that say where they begin give what the whole would.

        Returns:
            uint8 of the same shape, on the same device, in memory of its own.

        Raises:
            InvalidInputError: If the images are not of this kind, or a number is negative.
        """
        _check_images(images)
        for name, value in (("seed", seed), ("first", first)):
            if value < 0:
                raise InvalidInputError(f"{name} should be at least 0. Found {value}.", field=name)
        if not len(images):
            return images.clone()
        scaled = images.cpu().to(torch.float32).contiguous() / 255
        draws = Draws(seed, range(first, first + len(images)))
        return eight_bit(self._corrupt(scaled, draws)).contiguous().to(images.device)

    @abstractmethod
    def _corrupt(self, images: Tensor, draws: Draws) -> Tensor:
        """The corruption itself.

        Args:
            images: Floats in [0, 1] of shape (B, 3, H, W), B at least 1, on the CPU; not to be
                changed. Each is a 255th of a whole number.
            draws: What is random, image by image.

        Returns:
            Floats of the same shape; the caller clips and rounds them.
        """

    def _level(self, levels: tuple[T, T, T, T, T]) -> T:
        """What belongs to this severity."""
        return levels[self.severity - 1]


def eight_bit(images: Tensor) -> Tensor:
    """The nearest uint8 images to floats in [0, 1], which are clipped to it."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


def _check_images(images: Tensor) -> None:
    shaped = images.ndim == 4 and images.shape[1] == 3 and 0 not in images.shape[2:]
    if images.dtype != torch.uint8 or not shaped:
        raise InvalidInputError(
            "Images to corrupt should be uint8 of shape (B, 3, H, W), H and W positive. "
            f"Found {images.dtype} of shape {tuple(images.shape)}.",
            field="images",
        )
