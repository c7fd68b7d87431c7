"""The requests of a load, made before it starts."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from detector.errors import ImageError
from service.client import ImageInput, detect_request
from service.load.run import Payload
from service.results import Level

__all__ = ["SAMPLES", "payloads", "pixels_of"]

SAMPLES = Path(__file__).parent.parent / "samples"
"""Folder of the sample images that come with the package."""


def payloads(
    images: Sequence[ImageInput],
    *,
    batch: int = 1,
    alpha: float | None = None,
    level: Level | None = None,
) -> tuple[Payload, ...]:
    """One request for each image, with so many images each, that one and those after it.

    Args:
        images: The images, at least one.
        batch: Images in each request, at least 1.
        alpha: False-alarm budget; None for the bundle's.
        level: How much compute each verdict may cost; None for the bundle's default.

    Raises:
        ImageError: If a file cannot be read or an array is no image.
    """
    around = list(itertools.islice(itertools.cycle(images), len(images) + batch - 1))
    return tuple(
        Payload(
            detect_request(
                around[start : start + batch], alpha=alpha, level=level
            ).SerializeToString(),
            batch,
        )
        for start in range(len(images))
    )


def pixels_of(path: Path) -> NDArray[np.uint8]:
    """Pixels of an image file, uint8 of shape (H, W, 3).

    Raises:
        ImageError: If it is none.
    """
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise ImageError(
            f"{path} should be an image file. Found: {error}. Give another file."
        ) from error
