"""What every copy keeps; a subclass only computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor

from detector.errors import InvalidInputError

__all__ = ["Copy", "whole_option"]


class Copy(ABC):
    """Makes a slightly different copy of each image; an immutable description, free of state.

    The same image gives the same copy, whatever else is in the batch; the images that come in are
    never changed. Subclasses are frozen dataclasses with `name`, `of_option` and `_copy`.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The shortest text from which `detector.copies.parse_copy` makes this copy."""

    @classmethod
    @abstractmethod
    def of_option(cls, option: str) -> Self:
        """The copy that the text behind a name's colon describes; empty where there is none.

        Raises:
            InvalidInputError: If it describes none.
        """

    def __call__(self, images: Tensor) -> Tensor:
        """Copies of images.

        Args:
            images: uint8 of shape (B, 3, H, W), none of H and W zero, on any device.

        Returns:
            uint8 of the same shape, on the same device, in memory of its own.

        Raises:
            InvalidInputError: If the images are not of this kind.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise _not_images(images)
        if 0 in images.shape[2:]:
            raise _not_images(images)
        # Options such as 8 bits or a factor of 1 change nothing: the copy is still no view.
        copied = self._copy(images) if len(images) else images
        return copied.clone() if copied.data_ptr() == images.data_ptr() else copied.contiguous()

    @abstractmethod
    def _copy(self, images: Tensor) -> Tensor:
        """The copies themselves, (B, 3, H, W) -> (B, 3, H, W), uint8, B at least 1."""


def whole_option(option: str, example: str) -> int:
    """A whole number behind a name's colon.

    Args:
        option: What stands there.
        example: A name that would do, for the message.

    Raises:
        InvalidInputError: If it is no whole number.
    """
    if not (option.isascii() and option.isdigit() and len(option) < 10):
        raise InvalidInputError(
            f"{example.partition(':')[0]} should be followed by a whole number, as in {example}. "
            f"Found {option!r}.",
            field="copy",
        )
    return int(option)


def _not_images(images: Tensor) -> InvalidInputError:
    return InvalidInputError(
        "Images to copy should be uint8 of shape (B, 3, H, W), H and W positive. "
        f"Found {images.dtype} of shape {tuple(images.shape)}.",
        field="images",
    )
