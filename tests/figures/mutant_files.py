"""Ways to break image files of which somebody knows the format: chunks, checksums, sizes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from random import Random

import numpy as np
from PIL import Image

from tests.figures.mutant_bytes import broken_bytes, broken_pieces, strange_number

__all__ = ["SOUND_FILES", "broken_file"]

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_BOMB = zlib.compress(bytes(1 << 20), 9)
"""A kilobyte that becomes a megabyte."""


def broken_file(chance: Random) -> bytes:
    """A file that was a sound image before one to three accidents, or is one of another format."""
    if chance.random() < 0.05:
        return chance.choice(_OTHER_FORMATS)
    data = chance.choice(SOUND_FILES)
    for _ in range(chance.randint(1, 3)):
        data = _BREAKERS[_format(data)](data, chance)
    return data


def _format(data: bytes) -> str:
    if data.startswith(_PNG_MAGIC):
        return "PNG"
    if data.startswith(b"\xff\xd8"):
        return "JPEG"
    return "WEBP" if data.startswith(b"RIFF") else ""


def _broken_png(data: bytes, chance: Random) -> bytes:
    chunks = _png_chunks(data)
    if not chunks or chance.random() < 0.2:
        return broken_bytes(data, chance)
    if chance.random() < 0.4:
        chunks[0] = _strange_png_header(chunks[0], chance)
    elif chance.random() < 0.5:
        name, body = chance.choice(_PNG_CHUNKS)
        chunks.insert(chance.randint(0, len(chunks)), _png_chunk(name, body))
    else:
        foreign = [_png_chunk(name, body) for name, body in _PNG_CHUNKS]
        chunks = broken_pieces(chunks, foreign, chance)
        if chance.random() < 0.5:  # its checksum holds, so that decoders look inside
            chunks = [_png_chunk(c[4:8], c[8:-4]) if len(c) >= 12 else c for c in chunks]
    return _PNG_MAGIC + b"".join(chunks)


def _png_chunks(data: bytes) -> list[bytes]:
    """The chunks of a PNG, the last perhaps not whole."""
    chunks, at = [], len(_PNG_MAGIC)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        chunks.append(data[at:end])
        at = end
    return chunks


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _strange_png_header(chunk: bytes, chance: Random) -> bytes:
    """Another size, depth, colour type or interlacing, under a checksum that holds."""
    body = bytearray(chunk[8:21].ljust(13, b"\0"))
    match chance.randrange(4):
        case 0:
            body[0:4] = strange_number(32, chance).to_bytes(4, "big")
        case 1:
            body[4:8] = strange_number(32, chance).to_bytes(4, "big")
        case 2:
            side = chance.choice((33, 100, 4097, 65_535))
            body[0:8] = struct.pack(">II", side, side)
        case _:
            body[chance.randrange(8, 13)] = chance.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    return _png_chunk(b"IHDR", bytes(body))


def _broken_jpeg(data: bytes, chance: Random) -> bytes:
    segments = _jpeg_segments(data)
    if not segments or chance.random() < 0.2:
        return broken_bytes(data, chance)
    at = chance.randrange(len(segments))
    match chance.randrange(5):
        case 0:
            segments.insert(0, _jpeg_segment(*chance.choice(_JPEG_SEGMENTS)))
        case 1:
            segments.insert(0, _jpeg_segment(0xE1, b"Exif\0\0" + _strange_tags(chance)))
        case 2:  # a length that says something else
            length = strange_number(16, chance).to_bytes(2, "big")
            segments[at] = segments[at][:2] + length + segments[at][4:]
        case 3:
            segments = [_strange_jpeg_size(each, chance) for each in segments]
        case _:
            foreign = [_jpeg_segment(*each) for each in _JPEG_SEGMENTS]
            segments = broken_pieces(segments, foreign, chance)
    return b"\xff\xd8" + b"".join(segments)


def _jpeg_segments(data: bytes) -> list[bytes]:
    """The segments of a JPEG behind its magic; the last holds the compressed pixels."""
    segments, at = [], 2
    while data[at : at + 1] == b"\xff" and data[at : at + 2] != b"\xff\xda":
        end = at + 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
        segments.append(data[at:end])
        at = end
    return [*segments, data[at:]] if at < len(data) else segments


def _jpeg_segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def _strange_jpeg_size(segment: bytes, chance: Random) -> bytes:
    """A frame header with another precision, size or number of components."""
    if segment[1:2] not in (b"\xc0", b"\xc2") or len(segment) < 10:
        return segment
    header = bytearray(segment)
    match chance.randrange(3):
        case 0:
            header[5:9] = struct.pack(">HH", strange_number(16, chance), strange_number(16, chance))
        case 1:
            header[4] = chance.choice((0, 1, 12, 16))
        case _:
            header[9] = chance.choice((0, 1, 2, 4, 255))
    return bytes(header)


def _strange_tags(chance: Random) -> bytes:
    """EXIF tags of random number, type, count and place."""
    count = chance.choice((1, 3, 12, 60_000))
    tags = b"".join(
        struct.pack(
            "<HHII",
            chance.choice((0x0112, 0x0128, 0x011A, chance.getrandbits(16))),
            chance.randrange(14),
            strange_number(32, chance),
            strange_number(32, chance),
        )
        for _ in range(min(count, 12))
    )
    return b"II*\0" + struct.pack("<IH", 8, count) + tags


def _broken_webp(data: bytes, chance: Random) -> bytes:
    chunks = _riff_chunks(data)
    if not chunks or chance.random() < 0.2:
        return broken_bytes(data, chance)
    at = chance.randrange(len(chunks))
    match chance.randrange(4):
        case 0:
            chunks.insert(at, _riff_chunk(*chance.choice(_WEBP_CHUNKS)))
        case 1:
            length = strange_number(32, chance).to_bytes(4, "little")
            chunks[at] = chunks[at][:4] + length + chunks[at][8:]
        case 2:  # where the size of an image stands, whichever kind of chunk comes first
            head = bytearray(chunks[0].ljust(18, b"\0"))
            place = chance.choice((9, 12, 14, 16))
            head[place : place + 2] = strange_number(16, chance).to_bytes(2, "little")
            chunks[0] = bytes(head)
        case _:
            foreign = [_riff_chunk(*each) for each in _WEBP_CHUNKS]
            chunks = broken_pieces(chunks, foreign, chance)
    body = b"WEBP" + b"".join(chunks)
    length = len(body) if chance.random() < 0.7 else strange_number(32, chance)
    return b"RIFF" + struct.pack("<I", length) + body


def _riff_chunks(data: bytes) -> list[bytes]:
    chunks, at = [], 12
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + length + length % 2
        chunks.append(data[at:end])
        at = end
    return chunks


def _riff_chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _drawn(height: int = 32, width: int = 32) -> Image.Image:
    """A smooth picture: it compresses, as photographs do."""
    row, column = np.mgrid[0:height, 0:width]
    colours = [row * 255 // height, column * 255 // width, (row + column) % 256]
    return Image.fromarray(np.stack(colours, axis=-1).astype(np.uint8))


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


_TAGS = struct.pack("<4sIHHHIIHHIII", b"II*\0", 8, 2, 0x0112, 3, 1, 1, 0x0128, 3, 1, 2, 0)

SOUND_FILES = (
    _saved(_drawn(), "PNG"),
    _saved(_drawn().convert("L"), "PNG"),
    _saved(_drawn().convert("RGBA"), "PNG"),
    _saved(_drawn(48, 64), "PNG", dpi=(72, 72), compress_level=1),
    _saved(_drawn(), "JPEG"),
    _saved(_drawn(48, 64), "JPEG", progressive=True),
    _saved(_drawn().convert("L"), "JPEG", exif=b"Exif\0\0" + _TAGS),
    _saved(_drawn(), "JPEG", subsampling=0, restart_marker_blocks=2, comment=b"drawn"),
    _saved(_drawn(), "WEBP"),
    _saved(_drawn(48, 64), "WEBP", lossless=True),
    _saved(_drawn(), "WEBP", exif=b"Exif\0\0" + _TAGS),
    _saved(_drawn().convert("RGBA"), "WEBP", exact=True),
)
"""Files that the server takes, in each format and most of its kinds."""

_OTHER_FORMATS = (
    *(_saved(_drawn(), kind) for kind in ("GIF", "BMP", "TIFF", "PPM", "TGA")),
    _saved(_drawn().convert("CMYK"), "JPEG"),
    _saved(_drawn().convert("P"), "PNG"),
    _saved(_drawn(), "PNG", save_all=True, append_images=[_drawn().rotate(90)]),
    _saved(_drawn(), "WEBP", save_all=True, append_images=[_drawn().rotate(90)]),
    _saved(_drawn(), "MPO", save_all=True, append_images=[_drawn().rotate(90)]),
    b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    b"%PDF-1.7\n",
    b"",
)

_PNG_CHUNKS = (
    (b"IDAT", _BOMB),
    (b"zTXt", b"Comment\0\0" + _BOMB),
    (b"iTXt", b"Comment\0\1\0\0\0" + _BOMB),
    (b"iCCP", b"profile\0\0" + _BOMB),
    (b"tEXt", b"Comment\0IDAT"),
    (b"tRNS", bytes(6)),
    (b"PLTE", bytes(768)),
    (b"acTL", struct.pack(">II", 0xFFFFFFFF, 0)),
    (b"acTL", struct.pack(">II", 2, 0)),
    (b"fcTL", bytes(26)),
    (b"eXIf", _TAGS),
    (b"pHYs", bytes(9)),
    (b"IEND", b""),
)

_JPEG_SEGMENTS = (
    (0xC4, bytes(19)),
    (0xDB, bytes(65)),
    (0xDD, b"\0\1"),
    (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"),
    (0xE2, b"ICC_PROFILE\0\1\1" + bytes(128)),
    (0xE2, b"MPF\0" + _TAGS),
    (0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\xff\xff\xff\xff"),
    (0xEE, b"Adobe\0\x64\0\0\0\0\2"),
    (0xFE, b"comment"),
)

_WEBP_CHUNKS = (
    (b"VP8X", b"\x02\0\0\0" + b"\xff" * 6),
    (b"VP8X", b"\x10\0\0\0" + b"\x1f\0\0" * 2),
    (b"VP8L", b"\x2f" + b"\xff" * 16),
    (b"VP8 ", bytes(16)),
    (b"ANIM", bytes(6)),
    (b"ANMF", bytes(24)),
    (b"ALPH", bytes(16)),
    (b"EXIF", _TAGS),
    (b"ICCP", bytes(128)),
)

_BREAKERS: dict[str, Callable[[bytes, Random], bytes]] = {
    "PNG": _broken_png,
    "JPEG": _broken_jpeg,
    "WEBP": _broken_webp,
    "": broken_bytes,
}
