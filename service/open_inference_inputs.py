"""From an input tensor of the Open Inference Protocol to images, nothing decoded yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from detector.errors import ImageError, InvalidInputError
from detector.images import ImageLimits, image_from_pixels
from service.codec import EncodedImage, RawImage, SentImage, check_count
from service.open_inference_tensors import shortened, split_byte_strings

__all__ = ["INPUTS", "InputTensor", "ListedImage", "SentTensor", "images_of"]

_CHANNELS = 3
_STRETCH = 65_536
"""Values that are turned into bytes at once: between two stretches other threads get their turn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InputTensor:
    """An input that the model takes.

    Args:
        name: Its name.
        datatype: The datatype of its elements.
        listed_as: The field of ``contents`` in which its elements may stand one by one.
        shape: Its shape; -1 where the size is the caller's choice.
    """

    name: str
    datatype: str
    listed_as: str
    shape: tuple[int, ...]


INPUTS = {
    tensor.name: tensor
    for tensor in (
        InputTensor(name="image", datatype="BYTES", listed_as="bytes_contents", shape=(-1,)),
        InputTensor(
            name="pixels",
            datatype="UINT8",
            listed_as="uint_contents",
            shape=(-1, -1, -1, _CHANNELS),
        ),
    )
}
"""The inputs by name; a request has exactly one of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SentTensor:
    """An input tensor as a caller sent it, its name and datatype known to be right.

    Args:
        kind: Which input it is.
        shape: Its shape.
        shape_field: Where that was sent.
        elements: Its elements: laid out in bytes, or one by one, each of the type that the
            datatype says.
        field: Where they were sent.
    """

    kind: InputTensor
    shape: tuple[int, ...]
    shape_field: str
    elements: bytes | Sequence[Any]
    field: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedImage:
    """An image as numbers in a list, height x width x channel.

    Args:
        field: Where the list was sent.
        values: The numbers of all images of the list.
        start: Index of this image's first one.
        height: Height, pixels.
        width: Width, pixels.
    """

    field: str
    values: Sequence[int]
    start: int
    height: int
    width: int

    @property
    def size_bytes(self) -> int:
        """Size of the image as uint8, bytes."""
        return self.height * self.width * _CHANNELS

    def size_if_cheap(self) -> None:
        """Numbers of a list are taken over one by one: never."""

    def pixels(self, limits: ImageLimits) -> Tensor:
        """The image, uint8 of shape (3, H, W)."""
        end = self.start + self.size_bytes
        try:
            data = b"".join(
                bytes(self.values[at : min(at + _STRETCH, end)])
                for at in range(self.start, end, _STRETCH)
            )
        except ValueError as error:
            raise ImageError(
                "Pixels should be UINT8, from 0 to 255. Found a larger number. Scale them."
            ) from error
        return image_from_pixels(
            data, height=self.height, width=self.width, channels=_CHANNELS, limits=limits
        )


def images_of(tensor: SentTensor, *, max_images: int) -> tuple[SentImage, ...]:
    """The images of a tensor.

    Args:
        tensor: The tensor.
        max_images: Most images in one request.

    Raises:
        InvalidInputError: If shape and elements do not agree with the input or with each other.
    """
    if tensor.kind.name == "image":
        return _encoded_images(tensor, max_images)
    return _pixel_images(tensor, max_images)


def _encoded_images(tensor: SentTensor, max_images: int) -> tuple[SentImage, ...]:
    shape = tensor.shape
    if not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)):
        raise InvalidInputError(
            f"image should have the shape [N] or [N, 1], for N image files. Found {_shown(shape)}. "
            "Send whole files as elements of BYTES.",
            field=tensor.shape_field,
        )
    count = shape[0]
    check_count(count, max_images=max_images, field=tensor.shape_field)
    files = tensor.elements
    if isinstance(files, bytes):
        files = split_byte_strings(files, count, field=tensor.field)
    _check_length(tensor, len(files), count)
    return tuple(
        EncodedImage(field=f"{tensor.field}[{index}]", data=file)
        for index, file in enumerate(files)
    )


def _pixel_images(tensor: SentTensor, max_images: int) -> tuple[SentImage, ...]:
    count, height, width = _pixel_sizes(tensor, max_images)
    size = height * width * _CHANNELS
    elements = tensor.elements
    _check_length(tensor, len(elements), count * size)
    places = ((f"{tensor.field}[{index}]", index * size) for index in range(count))
    if isinstance(elements, bytes):
        return tuple(
            RawImage(
                field=field,
                data=elements[start : start + size],
                height=height,
                width=width,
                channels=_CHANNELS,
            )
            for field, start in places
        )
    return tuple(
        ListedImage(field=field, values=elements, start=start, height=height, width=width)
        for field, start in places
    )


def _pixel_sizes(tensor: SentTensor, max_images: int) -> tuple[int, int, int]:
    """Number, height and width of the images."""
    shape = tensor.shape
    if len(shape) != 4 or shape[3] != _CHANNELS or min(shape[1:]) < 1:
        raise InvalidInputError(
            "pixels should have the shape [N, height, width, 3], channels last. "
            f"Found {_shown(shape)}. Bring the channels, red green blue, to the end.",
            field=tensor.shape_field,
        )
    check_count(shape[0], max_images=max_images, field=tensor.shape_field)
    return shape[0], shape[1], shape[2]


def _check_length(tensor: SentTensor, found: int, expected: int) -> None:
    if found != expected:
        raise InvalidInputError(
            f"{tensor.field} should have {expected} elements, as the shape {_shown(tensor.shape)} "
            f"says. Found {found}. Send as many elements as the shape has.",
            field=tensor.field,
        )


def _shown(shape: tuple[int, ...]) -> str:
    return shortened(list(shape[:8]))
