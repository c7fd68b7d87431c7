"""Copies of images that mean the same to us and unsettle attacks: flips, shifts, scalings, filters.

A copy is an immutable object such as ``Shift(direction=Direction.LEFT)``; `parse_copy` reads the
name that commands and tables write, ``shift:left``. Nothing here is random.
"""

from detector.copies.base import Copy
from detector.copies.filters import BitDepth, Jpeg, Median
from detector.copies.moves import Direction, Flip, HalfShift, Scale, Shift, shifted
from detector.copies.names import CopyName, copy_class, parse_copy

__all__ = [
    "BitDepth",
    "Copy",
    "CopyName",
    "Direction",
    "Flip",
    "HalfShift",
    "Jpeg",
    "Median",
    "Scale",
    "Shift",
    "copy_class",
    "parse_copy",
    "shifted",
]
