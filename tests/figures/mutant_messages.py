"""Ways to break a protobuf message on the wire, field by field."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from tests.figures.mutant_bytes import broken_bytes, broken_pieces, strange_number

__all__ = ["broken_message"]

_DELIMITED = 2
_WIRE_TYPES = 8  # of which 3, 4, 6 and 7 hold no value
_MOST_NUMBER = 20
_ENDLESS = b"\xff" * 11  # a varint has at most ten bytes


class _Field(NamedTuple):
    """One field of a message: its number, its wire type, its value without a length."""

    number: int
    wire_type: int
    value: bytes

    def pack(self) -> bytes:
        length = _varint(len(self.value)) if self.wire_type == _DELIMITED else b""
        return _varint(self.number << 3 | self.wire_type) + length + self.value


def broken_message(data: bytes, donor: bytes, chance: Random) -> bytes:
    """A message after one accident, to a field at any depth or to its bytes.

    Args:
        data: A sound message.
        donor: Another one, parts of which may end up in this.
        chance: Where chance comes from.
    """
    match chance.randrange(16):  # most bytes at random are no message any more, and read no further
        case 0:
            return broken_bytes(data, chance)
        case 1:
            cut, other = chance.randint(0, len(data)), chance.randint(0, len(donor))
            return data[:cut] + donor[other:]
        case _:
            return _broken_fields(data, donor, chance)


def _broken_fields(data: bytes, donor: bytes, chance: Random) -> bytes:
    fields, foreign = _fields(data), _fields(donor)
    if not fields or not foreign:
        return broken_bytes(data, chance)
    at = chance.randrange(len(fields))
    field = fields[at]
    pieces = [each.pack() for each in fields]
    deeper = field.wire_type == _DELIMITED and chance.random() < 0.6
    if deeper:
        inner = _broken_fields(field.value, donor, chance)
        pieces[at] = field._replace(value=inner).pack()
    elif chance.random() < 0.5:
        pieces = broken_pieces(pieces, [each.pack() for each in foreign], chance)
    else:
        pieces[at] = _broken_field(field, chance)
    return b"".join(pieces)


def _broken_field(field: _Field, chance: Random) -> bytes:
    tag = _varint(field.number << 3 | field.wire_type)
    match chance.randrange(12):
        case 0:
            return field._replace(number=chance.randrange(_MOST_NUMBER)).pack()
        case 1:
            return field._replace(wire_type=chance.randrange(_WIRE_TYPES)).pack()
        case 2:
            return field._replace(number=strange_number(29, chance)).pack()
        case 3:  # a length, or a number, that says something else
            return tag + _varint(strange_number(64, chance)) + field.value
        case 4:
            return tag + _ENDLESS + field.value
        case _:
            return field._replace(value=broken_bytes(field.value, chance)).pack()


def _fields(data: bytes) -> list[_Field]:
    """The fields of a message; none where it is no message."""
    fields, at = [], 0
    try:
        while at < len(data):
            tag, at = _read_varint(data, at)
            start, end = _value(data, at, tag & 7)
            if not tag >> 3 or end > len(data):
                return []
            fields.append(_Field(tag >> 3, tag & 7, data[start:end]))
            at = end
    except (IndexError, ValueError):
        return []
    return fields


def _value(data: bytes, at: int, wire_type: int) -> tuple[int, int]:
    """Where the value of a field begins and ends."""
    match wire_type:
        case 0:
            return at, _read_varint(data, at)[1]
        case 1:
            return at, at + 8
        case 2:
            length, start = _read_varint(data, at)
            return start, start + length
        case 5:
            return at, at + 4
        case _:
            raise ValueError("A group has no end of its own.")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A varint, and where it ends."""
    number = 0
    for place in range(10):
        byte = data[at + place]
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise ValueError("A varint should end within ten bytes.")


def _varint(number: int) -> bytes:
    packed = bytearray()
    while number > 0x7F:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*packed, number])
