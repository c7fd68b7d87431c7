"""Frozen dataclasses from and to the plain values of TOML and JSON.

A field's annotation says what is read: text, whole numbers, numbers, truth values, enumerations,
other dataclasses, tuples, dictionaries with text as keys, and any of them or None.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from enum import StrEnum
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

__all__ = ["PlainValueError", "read_plain", "to_plain"]

_T = TypeVar("_T")


class PlainValueError(ValueError):
    """A value is not what its field should hold.

    Args:
        field: Path of the field, as ``levels[1].cost``.
        should: What it should be.
        found: What it is.
    """

    def __init__(self, field: str, should: str, found: object) -> None:
        text = found if isinstance(found, str) else repr(found)
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        super().__init__(f"{field or 'the file'} should be {should}. Found {shown}.")
        self.field = field


def read_plain(kind: type[_T], value: object) -> _T:
    """Make a dataclass from plain values.

    Args:
        kind: The dataclass; its own checks run too.
        value: What a TOML or JSON reader gave.

    Raises:
        PlainValueError: If a field is missing, unknown or of another type.
    """
    made: _T = _read_dataclass(kind, value, "")
    return made


def to_plain(value: Any) -> Any:
    """The plain value that `read_plain` makes the same value from.

    Args:
        value: A dataclass, or what its fields may hold.
    """
    if dataclasses.is_dataclass(value):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple | list):
        return [to_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): to_plain(each) for name, each in value.items()}
    return value


def _read(kind: Any, value: object, field: str) -> Any:
    origin = get_origin(kind)
    if kind is Any or (origin is UnionType and value is None):
        return value
    if origin is UnionType:
        (inner,) = (each for each in get_args(kind) if each is not type(None))
        return _read(inner, value, field)
    if origin in _CONTAINERS:
        return _CONTAINERS[origin](kind, value, field)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, field)
    if issubclass(kind, StrEnum):
        return _read_enum(kind, value, field)
    should, accepts = _SIMPLE[kind]
    if not accepts(value):
        raise PlainValueError(field, should, value)
    return kind(value)


def _is_number(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)  # type: ignore[arg-type]  # it is a number here


_SIMPLE: dict[type, tuple[str, Callable[[object], bool]]] = {
    str: ("text", lambda value: isinstance(value, str)),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    float: ("a finite number", _is_number),
}


def _read_tuple(kind: Any, value: object, field: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise PlainValueError(field, "a list", value)
    inner = get_args(kind)[0]
    return tuple(_read(inner, each, f"{field}[{place}]") for place, each in enumerate(value))


def _read_dict(kind: Any, value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PlainValueError(field, "a table of names and values", value)
    inner = get_args(kind)[1]
    return {name: _read(inner, each, f"{field}.{name}") for name, each in value.items()}


_CONTAINERS: dict[Any, Callable[[Any, object, str], Any]] = {tuple: _read_tuple, dict: _read_dict}


def _read_enum(kind: type[StrEnum], value: object, field: str) -> StrEnum:
    if value not in [each.value for each in kind]:
        raise PlainValueError(field, f"one of {', '.join(kind)}", value)
    return kind(value)


def _read_dataclass(kind: Any, value: object, field: str) -> Any:
    if not isinstance(value, dict):
        raise PlainValueError(field, "a table of names and values", value)
    fields = {each.name: each for each in dataclasses.fields(kind)}
    within = f"{field}." if field else ""
    for name in value:
        if name not in fields:
            raise PlainValueError(f"{within}{name}", f"one of {', '.join(fields)}", "another name")
    for name, each in fields.items():
        optional = each.default is not dataclasses.MISSING
        if name not in value and not optional:
            raise PlainValueError(f"{within}{name}", "given", "nothing")
    types = get_type_hints(kind)
    return kind(**{name: _read(types[name], each, within + name) for name, each in value.items()})
