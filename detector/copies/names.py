"""Copies by name, as commands and tables write them."""

from __future__ import annotations

from enum import StrEnum

from detector.copies.base import Copy
from detector.copies.filters import BitDepth, Jpeg, Median
from detector.copies.moves import Flip, HalfShift, Scale, Shift
from detector.errors import InvalidInputError

__all__ = ["CopyName", "copy_class", "parse_copy"]


class CopyName(StrEnum):
    """A kind of copy, by name."""

    FLIP = "flip"
    SHIFT = "shift"
    HALF_SHIFT = "half-shift"
    SCALE = "scale"
    MEDIAN = "median"
    BITS = "bits"
    JPEG = "jpeg"


_CLASSES: dict[CopyName, type[Copy]] = {
    CopyName.FLIP: Flip,
    CopyName.SHIFT: Shift,
    CopyName.HALF_SHIFT: HalfShift,
    CopyName.SCALE: Scale,
    CopyName.MEDIAN: Median,
    CopyName.BITS: BitDepth,
    CopyName.JPEG: Jpeg,
}


def copy_class(name: CopyName) -> type[Copy]:
    """The class of copies that a name stands for."""
    return _CLASSES[name]


def parse_copy(text: str) -> Copy:
    """Read a name such as ``flip``, ``shift:left``, ``scale:0.75`` or ``jpeg:75``.

    Args:
        text: The kind and, behind a colon, its option.

    Raises:
        InvalidInputError: If there is no such copy.
    """
    kind, _, option = (part.strip().lower() for part in text.partition(":"))
    try:
        name = CopyName(kind)
    except ValueError:
        raise InvalidInputError(
            f"A copy should be one of {', '.join(CopyName)}. Found {text!r}. "
            "Write flip, shift:left, half-shift:left, scale:0.75, median:3, bits:5 or jpeg:75.",
            field="copy",
        ) from None
    return copy_class(name).of_option(option)
