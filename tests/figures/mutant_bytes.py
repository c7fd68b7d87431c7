"""Ways to break bytes of which nothing is known, and lists of pieces that made a whole."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

__all__ = ["broken_bytes", "broken_pieces", "strange_number"]

_INTERESTING = (0x00, 0x01, 0x7F, 0x80, 0xFF)
_LONGEST = 64


def broken_bytes(data: bytes, chance: Random) -> bytes:
    """The same bytes after one accident: flips, overwriting, insertion, loss, repetition."""
    return chance.choice(_ACCIDENTS)(data, chance) if data else chance.randbytes(_LONGEST)


def broken_pieces(pieces: list[bytes], foreign: list[bytes], chance: Random) -> list[bytes]:
    """The same pieces with one lost, doubled, moved, broken, or another one among them.

    Args:
        pieces: What made the whole, in order, at least one.
        foreign: Pieces of something else, at least one.
        chance: Where chance comes from.
    """
    broken = list(pieces)
    at = chance.randrange(len(pieces))
    match chance.randrange(6):
        case 0:
            del broken[at]
        case 1:
            broken[at:at] = [broken[at]] * chance.choice((1, 2, 100))
        case 2:
            other = chance.randrange(len(pieces))
            broken[at], broken[other] = broken[other], broken[at]
        case 3:
            broken.insert(at, chance.choice(foreign))
        case 4:
            broken[at] = chance.choice(foreign)
        case _:
            broken[at] = broken_bytes(broken[at], chance)
    return broken


def strange_number(bits: int, chance: Random) -> int:
    """A number of so many bits, most often at the edge of what something can hold."""
    edge: int = 1 << chance.randint(0, bits)
    nearby = edge + chance.randint(-1, 1)
    return chance.choice((nearby, chance.getrandbits(bits), 0)) % (1 << bits)


def _flip(data: bytes, chance: Random) -> bytes:
    flipped = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        flipped[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def _overwrite(data: bytes, chance: Random) -> bytes:
    start, end = _stretch(data, chance)
    return data[:start] + bytes([chance.choice(_INTERESTING)]) * (end - start) + data[end:]


def _insert(data: bytes, chance: Random) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + chance.randbytes(chance.randint(1, _LONGEST)) + data[at:]


def _lose(data: bytes, chance: Random) -> bytes:
    start, end = _stretch(data, chance)
    return data[:start] + data[end:]


def _repeat(data: bytes, chance: Random) -> bytes:
    start, end = _stretch(data, chance)
    return data[:start] + data[start:end] * chance.choice((2, 3, 50)) + data[end:]


def _truncate(data: bytes, chance: Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _extend(data: bytes, chance: Random) -> bytes:
    return data + chance.randbytes(chance.randint(1, _LONGEST))


def _stretch(data: bytes, chance: Random) -> tuple[int, int]:
    start = chance.randrange(len(data))
    return start, min(len(data), start + chance.randint(1, _LONGEST))


_ACCIDENTS: tuple[Callable[[bytes, Random], bytes], ...] = (
    _flip,
    _flip,
    _overwrite,
    _insert,
    _lose,
    _repeat,
    _truncate,
    _extend,
)
