"""Checks of the arrays that figures are made from."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detector.errors import InvalidInputError

__all__ = ["checked_flags", "checked_scores", "checked_whole"]


def checked_scores(values: ArrayLike, field: str) -> NDArray[np.float64]:
    """Scores as float64 of shape (N,).

    Args:
        values: Finite numbers, at least one.
        field: What they are called, for the message.

    Raises:
        InvalidInputError: If they are not so.
    """
    scores = np.asarray(values, dtype=np.float64)
    _check_shape(scores, field, None)
    if not scores.size:
        raise InvalidInputError(f"{field} should hold at least one score. Found none.", field=field)
    if bad := int((~np.isfinite(scores)).sum()):
        raise InvalidInputError(
            f"{field} should be finite. Found {bad} of {len(scores)} that are not. "
            "Check the network's weights.",
            field=field,
        )
    return scores


def checked_flags(values: ArrayLike, field: str, length: int | None = None) -> NDArray[np.bool_]:
    """True or false of each image, bool of shape (N,).

    Args:
        values: Truth values; numbers are refused, as they may be scores.
        field: What they are called, for the message.
        length: How many they should be; any number by default.

    Raises:
        InvalidInputError: If they are not so.
    """
    flags = np.asarray(values)
    if flags.dtype != np.bool_:
        raise InvalidInputError(f"{field} should be bool. Found {flags.dtype}.", field=field)
    _check_shape(flags, field, length)
    return flags


def checked_whole(values: ArrayLike, field: str, length: int | None = None) -> NDArray[np.int64]:
    """Class or image numbers, int64 of shape (N,).

    Args:
        values: Whole numbers, at least 0.
        field: What they are called, for the message.
        length: How many they should be; any number by default.

    Raises:
        InvalidInputError: If they are not so.
    """
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "iu" or bool((numbers < 0).any()):
        raise InvalidInputError(
            f"{field} should be whole numbers, at least 0. Found {numbers.dtype}"
            f"{', some negative' if numbers.dtype.kind == 'i' else ''}.",
            field=field,
        )
    _check_shape(numbers, field, length)
    return numbers.astype(np.int64)


def _check_shape(values: NDArray[np.generic], field: str, length: int | None) -> None:
    if values.ndim != 1 or (length is not None and len(values) != length):
        should = "(N,)" if length is None else f"({length},)"
        raise InvalidInputError(
            f"{field} should have the shape {should}. Found {values.shape}.", field=field
        )
