"""Ordinary traffic, as far as it could be taken for query campaigns.

The model: a principal sends one thing after the other. Of ten things

* eight are an image drawn with replacement, so that popular ones come back as exact duplicates;
* one is a burst of retries, the same image two to twenty times;
* one is a set of versions of an image, two to eight of: the file as JPEG of quality 95, 75 and 50,
  a tight crop, moved by one pixel, brighter, darker, with weak noise;

and one thing in a hundred is instead a burst of a camera, twenty frames of one scene that move by
up to a pixel, with the noise of a sensor. Every other principal is the harder kind that sends
images of one class only. Nobody sends more than twenty new frames of one scene: videos of still
cameras are campaigns to the watch, and are measured apart.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from detector.pipeline import Pipeline

__all__ = ["FRAMES", "Pool", "camera_frames", "requests"]

FRAMES = 20
"""Frames of a burst of a camera."""

_VERSIONS = 8
_BATCH = 250

Pixels = NDArray[np.uint8]
"""Shape (N, 3, H, W)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """Images with their paths, and some of them with their versions and frames.

    Row i of the versions and of the frames is made of image i; only the first images have them.

    Args:
        pixels: Shape (N, 3, H, W).
        bits: Their paths, shape (N, G).
        labels: Class of each image, shape (N,).
        versions: First row of each image's versions, of which there are `_VERSIONS`.
        frames: First row of each image's frames, of which there are `FRAMES`.
    """

    pixels: Pixels
    bits: NDArray[np.bool_]
    labels: NDArray[np.int64]
    versions: NDArray[np.int64]
    frames: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        pipeline: Pipeline,
        images: Pixels,
        labels: NDArray[np.int64],
        *,
        with_versions: int,
        with_frames: int,
    ) -> Pool:
        """Images, versions of the first ones, and frames of the first of those."""
        rng = np.random.default_rng(0)
        versions = [_versions(image, rng) for image in images[:with_versions]]
        frames = [camera_frames(image, FRAMES, rng, drift=1) for image in images[:with_frames]]
        pixels = np.concatenate([images, *versions, *frames])
        found = [
            pipeline.observe(torch.from_numpy(batch)).path.bits.numpy()
            for batch in np.split(pixels, range(_BATCH, len(pixels), _BATCH))
        ]
        first = len(images)
        return cls(
            pixels=pixels,
            bits=np.concatenate(found),
            labels=labels,
            versions=first + _VERSIONS * np.arange(with_versions),
            frames=first + _VERSIONS * with_versions + FRAMES * np.arange(with_frames),
        )


def requests(pool: Pool, label: int | None, rng: np.random.Generator) -> Iterator[int]:
    """What one principal sends, without end, as rows of the pool.

    Args:
        pool: Where images come from.
        label: The only class that it sends; None for all.
        rng: Draws.
    """
    single = np.flatnonzero(pool.labels >= 0 if label is None else pool.labels == label)
    versioned = single[single < len(pool.versions)]
    filmed = single[single < len(pool.frames)]
    while True:
        kind = rng.random()
        if kind < 0.01:
            yield from pool.frames[rng.choice(filmed)] + np.arange(FRAMES)
        elif kind < 0.11:
            image = rng.choice(versioned)
            sent = rng.choice(_VERSIONS, rng.integers(1, _VERSIONS), replace=False)
            yield from [image, *(pool.versions[image] + sent)]
        elif kind < 0.21:
            yield from [rng.choice(single)] * rng.integers(2, 21)
        else:
            yield rng.choice(single)


def camera_frames(image: Pixels, count: int, rng: np.random.Generator, *, drift: int) -> Pixels:
    """Frames of one scene by a camera whose sensor has a noise of one 8-bit step.

    Args:
        image: The scene, shape (3, H, W).
        count: How many frames.
        rng: Draws.
        drift: By how many pixels it moves at most; 0 for a camera that stands still.
    """
    wide = np.pad(image, ((0, 0), (drift, drift), (drift, drift)), mode="reflect")
    height, width = image.shape[1:]
    frames = []
    for top, left in rng.integers(0, 2 * drift + 1, (count, 2)):
        frame = wide[:, top : top + height, left : left + width]
        frames.append(frame + rng.normal(0, 1, image.shape))
    return _eight_bits(np.stack(frames))


def _versions(image: Pixels, rng: np.random.Generator) -> Pixels:
    height, width = image.shape[1:]
    picture = Image.fromarray(image.transpose(1, 2, 0))
    cropped = picture.crop((1, 1, width - 1, height - 1)).resize((width, height))
    changed = [
        *(_through_jpeg(picture, quality) for quality in (95, 75, 50)),
        np.asarray(cropped).transpose(2, 0, 1),
        np.roll(image, 1, axis=2),
        image * 1.1,
        image * 0.9,
        image + rng.normal(0, 1, image.shape),
    ]
    return _eight_bits(np.stack(changed))


def _through_jpeg(picture: Image.Image, quality: int) -> Pixels:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).transpose(2, 0, 1)


def _eight_bits(images: NDArray[np.floating]) -> Pixels:
    return np.rint(images).clip(0, 255).astype(np.uint8)
