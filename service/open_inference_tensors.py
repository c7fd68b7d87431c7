"""Elements of tensors as the Open Inference Protocol lays them out in bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from detector.errors import InvalidInputError

__all__ = ["join_byte_strings", "shortened", "split_byte_strings"]

_LENGTH = struct.Struct("<I")
_MOST_SHOWN = 60


def split_byte_strings(data: bytes, count: int, *, field: str) -> list[bytes]:
    """The elements of a BYTES tensor, each of which stands behind its length.

    Args:
        data: All of them.
        count: How many there should be.
        field: Where they were sent.

    Raises:
        InvalidInputError: If they end too early, or bytes are left.
    """
    strings: list[bytes] = []
    end = 0
    for index in range(count):
        start = end + _LENGTH.size
        if start > len(data):
            raise _truncated(index, "its length", len(data) - end, _LENGTH.size, field)
        (length,) = _LENGTH.unpack_from(data, end)
        end = start + length
        if end > len(data):
            raise _truncated(index, "it", len(data) - start, length, field)
        strings.append(data[start:end])
    if end < len(data):
        raise InvalidInputError(
            f"{field} should end with the last of {count} elements, as the shape says. "
            f"Found {len(data) - end} more bytes. Send as many elements as the shape has.",
            field=field,
        )
    return strings


def join_byte_strings(strings: Iterable[bytes]) -> bytes:
    """A BYTES tensor of these elements."""
    return b"".join(_LENGTH.pack(len(each)) + each for each in strings)


def shortened(value: object) -> str:
    """What a caller sent, as an error shows it: a reply's trailers hold a few kilobytes."""
    shown = repr(value)
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}..."


def _truncated(index: int, what: str, found: int, expected: int, field: str) -> InvalidInputError:
    return InvalidInputError(
        f"Element {index} of {field} should be a little-endian uint32 with its length, and then "
        f"so many bytes: {expected} bytes for {what}. Found {found}. Send the tensor whole.",
        field=field,
    )
