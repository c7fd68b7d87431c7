"""Bytes become pixels, or a clear refusal before they are decoded."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from detector.errors import ImageError
from detector.images import ImageLimits, decode_image, image_from_pixels, small_png_size

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def rgb() -> Image.Image:
    return Image.fromarray(PIXELS)


def frames() -> list[Image.Image]:
    return [rgb(), Image.fromarray(255 - PIXELS)]


def png_of_header(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + checksum

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"\0" * 64)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def apng_behind_a_comment() -> bytes:
    """An animated PNG with a comment that speaks of IDAT before its control chunk."""
    data = encoded(rgb(), save_all=True, append_images=frames()[1:])
    body = b"tEXt" + b"Comment\0IDAT"
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + chunk + data[33:]


@pytest.mark.parametrize(
    "data",
    [encoded(rgb()), encoded(rgb(), "WEBP", lossless=True), encoded(rgb().convert("RGBA"))],
    ids=["png", "webp", "opaque alpha"],
)
def test_a_lossless_file_gives_its_pixels(data: bytes) -> None:
    image = decode_image(data)
    assert image.dtype == torch.uint8
    assert torch.equal(image, torch.from_numpy(PIXELS).permute(2, 0, 1))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_gives_colour_pixels_of_its_size(progressive: bool) -> None:
    image = decode_image(encoded(rgb(), "JPEG", progressive=progressive))
    assert image.shape == (3, 24, 32)


def test_greyscale_becomes_three_equal_channels() -> None:
    image = decode_image(encoded(rgb().convert("L")))
    assert image.shape == (3, 24, 32)
    assert torch.equal(image[0], image[1])
    assert torch.equal(image[0], image[2])


def bomb_webp() -> bytes:
    lossy = bytearray(encoded(rgb(), "WEBP"))
    lossy[26:30] = struct.pack("<HH", 16383, 16383)
    return bytes(lossy)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "no bytes"),
    "text": (lambda: b"hello", "unknown format"),
    "gif": (lambda: encoded(rgb(), "GIF"), "GIF"),
    "bmp": (lambda: encoded(rgb(), "BMP"), "BMP"),
    "tiff": (lambda: encoded(rgb(), "TIFF"), "TIFF"),
    "animated png": (
        lambda: encoded(rgb(), save_all=True, append_images=frames()[1:]),
        "animated PNG",
    ),
    "animated png, behind a comment": (apng_behind_a_comment, "animated PNG"),
    "animated webp": (
        lambda: encoded(rgb(), "WEBP", save_all=True, append_images=frames()[1:]),
        "animated WebP",
    ),
    "16-bit colour": (lambda: png_of_header(8, 8, depth=16), "16 bits"),
    "16-bit grey": (
        lambda: encoded(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 900)),
        "16 bits",
    ),
    "cmyk": (lambda: encoded(rgb().convert("CMYK"), "JPEG"), "CMYK"),
    "palette": (lambda: encoded(rgb().convert("P")), "palette"),
    "transparent": (
        lambda: encoded(Image.fromarray(np.dstack([PIXELS, PIXELS[..., :1]]))),
        "transparent",
    ),
    "transparent colour": (
        lambda: encoded(rgb(), transparency=tuple(PIXELS[0, 0].tolist())),
        "transparent",
    ),
    "pixel bomb": (lambda: png_of_header(100_000, 100_000), "at most"),
    "webp bomb": (bomb_webp, "at most"),
    "thin strip": (lambda: png_of_header(40_000, 1), "longer side"),
    "no pixels": (lambda: png_of_header(0, 8), "at least one pixel"),
    "header only": (lambda: encoded(rgb())[:20], "ends too early"),
    "webp header only": (lambda: encoded(rgb(), "WEBP")[:20], "ends too early"),
    "webp of an unknown chunk": (lambda: b"RIFF\0\0\0\0WEBPJUNK" + bytes(40), "ends too early"),
    "pixels missing": (lambda: png_of_header(64, 64), "ends too early"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_no_usable_image_is_refused_with_the_reason(case: str) -> None:
    build, reason = REFUSED[case]
    with pytest.raises(ImageError, match=reason):
        decode_image(build())


def test_a_large_jpeg_is_refused_before_its_pixels_are_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = encoded(rgb(), "JPEG")

    def decoded(*_: object) -> None:
        raise AssertionError("the pixels were decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    with pytest.raises(ImageError, match="at most 100 pixels"):
        decode_image(data, limits=ImageLimits(max_pixels=100))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 0.97))
def test_a_truncated_file_is_never_taken_for_another_image(kind: str, share: float) -> None:
    data = encoded(rgb(), kind)
    with pytest.raises(ImageError):
        decode_image(data[: int(share * len(data))])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_damaged_byte_gives_an_image_or_an_image_error_and_nothing_else(
    kind: str, position: int, value: int
) -> None:
    data = bytearray(encoded(rgb(), kind))
    data[position % len(data)] = value
    with contextlib.suppress(ImageError):
        assert decode_image(bytes(data)).dtype == torch.uint8


def noted() -> bytes:
    note = PngInfo()
    note.add_text("note", "x" * 1000, zip=True)
    return encoded(rgb(), pnginfo=note)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (encoded(rgb()), (24, 32)),
        (encoded(rgb().convert("L")), (24, 32)),
        (encoded(Image.new("RGB", (64, 64))), (64, 64)),
        (encoded(Image.new("RGB", (65, 64))), None),
        (noted(), None),
        (encoded(rgb()) + b"more", None),
        (encoded(rgb())[:-1], None),
        (encoded(rgb(), "JPEG"), None),
        (b"", None),
    ],
)
def test_only_a_small_png_of_nothing_but_pixels_says_its_size_beforehand(
    data: bytes, size: tuple[int, int] | None
) -> None:
    assert small_png_size(data) == size


def test_raw_pixels_are_the_image() -> None:
    image = image_from_pixels(PIXELS.tobytes(), height=24, width=32, channels=3)
    assert torch.equal(image, torch.from_numpy(PIXELS).permute(2, 0, 1))


@pytest.mark.parametrize(
    ("size", "height", "width", "channels", "reason"),
    [
        (24 * 32 * 4, 24, 32, 4, "3 channels"),
        (24 * 32, 24, 32, 1, "3 channels"),
        (24 * 32 * 3 * 4, 24, 32, 3, "2304 bytes. Found 9216"),
        (24 * 32 * 3 - 1, 24, 32, 3, "2304 bytes. Found 2303"),
        (0, 24, 32, 3, "Found 0"),
        (0, 0, 0, 3, "at least one pixel"),
        (10, 1 << 20, 1 << 20, 3, "at most"),
    ],
    ids=["alpha", "grey", "float32", "short", "empty", "no pixels", "bomb"],
)
def test_raw_pixels_that_disagree_with_their_shape_are_refused(
    size: int, height: int, width: int, channels: int, reason: str
) -> None:
    with pytest.raises(ImageError, match=reason):
        image_from_pixels(bytes(size), height=height, width=width, channels=channels)


@pytest.mark.parametrize("field", ["max_pixels", "max_aspect_ratio"])
def test_limits_that_admit_no_image_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ImageLimits(**{field: 0})
