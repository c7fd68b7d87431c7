"""From bytes that a caller sent to pixels, with every check that can come before decoding.

Width, height, depth, colour type and animation are read from the file's own header, so
that a small file which would unpack into gigabytes is refused while it is still small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile
from torch import Tensor

from detector.errors import ImageError

__all__ = ["ImageLimits", "decode_image", "image_from_pixels", "is_png", "small_png_size"]

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
_PNG_INDEXED = 3
_PNG_PIXELS_START = 33
_PNG_CHUNK_FRAME = 12
_SMALL_PIXELS = 4096
_VP8X_ANIMATION = 0x02
_OTHER_FORMATS = (
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"%PDF", "PDF"),
    (b"<svg", "SVG"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageLimits:
    """Which image sizes are taken.

    Args:
        max_pixels: Largest height times width.
        max_aspect_ratio: Largest ratio of the longer to the shorter side, at least 1. The shorter
            side is resized to the network's input, so a thin strip would grow without bound.

    Raises:
        ValueError: If a limit admits no image at all.
    """

    max_pixels: int = 16_777_216
    max_aspect_ratio: float = 32.0

    def __post_init__(self) -> None:
        if self.max_pixels < 1 or self.max_aspect_ratio < 1:
            raise ValueError(
                "max_pixels and max_aspect_ratio should be at least 1. "
                f"Found {self.max_pixels} and {self.max_aspect_ratio}."
            )

    def check(self, height: int, width: int) -> None:
        """Refuse a size that is out of the limits.

        Raises:
            ImageError: If it is.
        """
        if height < 1 or width < 1:
            raise ImageError(
                "An image should have at least one pixel. "
                f"Found a height of {height} and a width of {width}."
            )
        if height * width > self.max_pixels:
            raise ImageError(
                f"An image should have at most {self.max_pixels} pixels. "
                f"Found {height} x {width}. Scale it down."
            )
        if max(height, width) > self.max_aspect_ratio * min(height, width):
            raise ImageError(
                "The longer side of an image should be at most "
                f"{self.max_aspect_ratio:g} times the shorter one. Found {height} x {width}. "
                "Crop it."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Header:
    """What the first bytes of a file say; zero size where only the decoder can tell."""

    format: str
    height: int = 0
    width: int = 0
    sixteen_bit: bool = False
    palette: bool = False
    animated: bool = False


_DEFAULT_LIMITS = ImageLimits()


def decode_image(data: bytes, *, limits: ImageLimits = _DEFAULT_LIMITS) -> Tensor:
    """The pixels of a PNG, JPEG or WebP file, uint8 of shape (3, H, W), red green blue.

    Greyscale becomes three equal channels. An alpha channel is dropped where it is opaque and
    refused where it is not: over which background a viewer sees the image is unknown, and an
    attacker could show people one image and the network another. Palette images are refused, as
    256 colours are not what the detector was calibrated on. Orientation tags are ignored: pixels
    count as they are stored, as they did in training.

    Args:
        data: The whole file.
        limits: Which sizes are taken.

    Raises:
        ImageError: If the bytes are empty, truncated, damaged, of another format, animated, of 16
            bits a channel, CMYK, palette, not opaque or out of the limits.
    """
    header = _read_header(data)
    if header.animated:
        raise _animated(header.format)
    if header.sixteen_bit:
        raise ImageError(
            "An image should have 8 bits a channel. Found a PNG of 16 bits a channel. "
            "Convert it to 8 bits."
        )
    if header.palette:
        raise ImageError(
            "An image should be colour or greyscale. Found a palette PNG. Convert it to RGB."
        )
    if header.height or header.width:
        limits.check(header.height, header.width)
    return _decode(data, header.format, limits)


def is_png(data: bytes) -> bool:
    """Whether a file says of itself that it is a PNG."""
    return data.startswith(_PNG_MAGIC)


def small_png_size(data: bytes) -> tuple[int, int] | None:
    """Height and width of a PNG that takes less time to decode than a thread to wake up.

    It has few pixels and nothing but them, in one chunk: no text or profile that could unpack into
    megabytes. Whether its bytes are sound is for `decode_image` to find out.

    Args:
        data: The whole file, of any format.

    Returns:
        The size that its header gives; None for every other file.
    """
    start = _PNG_PIXELS_START
    if not is_png(data) or data[start + 4 : start + 8] != b"IDAT":
        return None
    length = int.from_bytes(data[start : start + 4], "big")
    if len(data) != start + length + 2 * _PNG_CHUNK_FRAME:  # its frame, and the empty last chunk
        return None
    header = _png_header(data)
    if header.height * header.width > _SMALL_PIXELS:
        return None
    return header.height, header.width


def image_from_pixels(
    data: bytes, *, height: int, width: int, channels: int, limits: ImageLimits = _DEFAULT_LIMITS
) -> Tensor:
    """Raw pixels as an image, uint8 of shape (3, H, W).

    Args:
        data: uint8 values, row after row, pixel after pixel, red green blue.
        height: Height, pixels.
        width: Width, pixels.
        channels: Channels of each pixel; 3.
        limits: Which sizes are taken.

    Raises:
        ImageError: If the sizes are out of the limits or do not agree with the data.
    """
    if channels != 3:
        raise ImageError(
            f"A raw image should have 3 channels, red green blue. Found {channels}. "
            "Convert it to RGB."
        )
    limits.check(height, width)
    expected = height * width * channels
    if len(data) != expected:
        raise ImageError(
            f"A raw image of {height} x {width} x {channels} uint8 values should have "
            f"{expected} bytes. Found {len(data)}. Send height x width x channel, one byte each."
        )
    return _channels_first(np.frombuffer(data, dtype=np.uint8).reshape(height, width, channels))


def _channels_first(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
    # Always a copy: what arrives is read-only memory, which torch cannot hold.
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))


def _read_header(data: bytes) -> _Header:
    if not data:
        raise ImageError("An image should be a PNG, JPEG or WebP file. Found no bytes.")
    if is_png(data):
        return _png_header(data)
    if data.startswith(_JPEG_MAGIC):
        return _Header(format="JPEG")  # its size stands deep in the file; Pillow reads it lazily
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_header(data)
    known = (name for magic, name in _OTHER_FORMATS if data.startswith(magic))
    raise ImageError(
        "An image should be a PNG, JPEG or WebP file. "
        f"Found {next(known, 'bytes of an unknown format')}. Convert it to one of the three."
    )


def _png_header(data: bytes) -> _Header:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise _broken("PNG")
    return _Header(
        format="PNG",
        width=int.from_bytes(data[16:20], "big"),
        height=int.from_bytes(data[20:24], "big"),
        sixteen_bit=data[24] == 16,
        palette=data[25] == _PNG_INDEXED,
    )


def _webp_header(data: bytes) -> _Header:
    """Pillow allocates the whole canvas on opening, so the size is read here."""
    if len(data) < 30:
        raise _broken("WebP")
    animated = False
    match data[12:16]:
        case b"VP8X":
            width = int.from_bytes(data[24:27], "little") + 1
            height = int.from_bytes(data[27:30], "little") + 1
            animated = bool(data[20] & _VP8X_ANIMATION)
        case b"VP8L":
            packed = int.from_bytes(data[21:25], "little")
            width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width = int.from_bytes(data[26:28], "little") & 0x3FFF
            height = int.from_bytes(data[28:30], "little") & 0x3FFF
        case _:
            raise _broken("WebP")
    return _Header(format="WebP", width=width, height=height, animated=animated)


def _decode(data: bytes, name: str, limits: ImageLimits) -> Tensor:
    # The decoder is named, not guessed by Image.open, whose own bomb check only warns.
    opener: Callable[[BytesIO], ImageFile] = {
        "PNG": PngImagePlugin.PngImageFile,
        "JPEG": JpegImagePlugin.JpegImageFile,
        "WebP": WebPImagePlugin.WebPImageFile,
    }[name]
    try:
        with opener(BytesIO(data)) as image:
            limits.check(image.height, image.width)
            _check_frames(image, name)
            _check_mode(image)
            image.load()
            _check_opaque(image)
            pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except ImageError:
        raise
    except Exception as error:
        # Pillow's readers raise SyntaxError, struct.error, zlib.error, OSError and more on
        # damaged files, none of which tells the caller more than that the file is damaged.
        raise _broken(name) from error
    return _channels_first(pixels)


def _check_frames(image: ImageFile, name: str) -> None:
    # Pillow walks a PNG's chunks; a search for their names is led astray by comments.
    if getattr(image, "is_animated", False):
        raise _animated(name)


def _check_mode(image: ImageFile) -> None:
    if image.mode == "CMYK":
        raise ImageError(
            "An image should be colour (RGB) or greyscale. Found CMYK. Convert it to RGB."
        )


def _check_opaque(image: ImageFile) -> None:
    if not image.has_transparency_data:
        return
    lowest, _ = image.convert("RGBA").getchannel("A").getextrema()
    if lowest != 255:
        raise ImageError(
            "An image should be opaque. Found transparent pixels. "
            "Lay it over the background on which it is shown."
        )


def _animated(name: str) -> ImageError:
    return ImageError(
        f"An image should have one frame. Found an animated {name}. "
        "Send its frames as images of their own."
    )


def _broken(name: str) -> ImageError:
    return ImageError(
        f"An image should be a whole file. Found a {name} that ends too early or is damaged. "
        "Send it again, all of it."
    )
