"""A thousandth of a large data set, drawn here, and its extraction."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from deploy.planning.units import now
from detector.attacks import AttackSpec
from detector.data import load_splits
from detector.decoupling import DecoupledNetwork
from detector.jobs.extract import ExtractOptions, extract
from detector.path_table import SplitName
from detector.preprocessing import Preprocessing

__all__ = ["draw_photos", "seconds_to_extract"]

_PHOTOS = 8
_WIDTH, _HEIGHT = 500, 375
_TRAIN_A_CLASS = 3
"""The least that can be divided into splits."""


def draw_photos(folder: Path, *, classes: int, images: int) -> Path:
    """A data set of JPEG files of ImageNet's usual size, few of them, under many names.

    Args:
        folder: Where to.
        classes: Number of classes.
        images: Number of test images, at least one a class.
    """
    generator = np.random.default_rng(0)
    photos = []
    for index in range(_PHOTOS):
        photos.append(folder / f"{index}.jpg")
        coarse = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC)
        grain = generator.normal(0, 12, (_HEIGHT, _WIDTH, 3))
        pixels = (np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(photos[-1], quality=92)
    for split, count in (("train", _TRAIN_A_CLASS * classes), ("test", images)):
        for index in range(count):
            path = folder / "data" / split / f"{index % classes:04d}" / f"{index}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(photos[index % _PHOTOS], path)
    return folder / "data"


def seconds_to_extract(
    network: DecoupledNetwork,
    data: Path,
    preprocessing: Preprocessing,
    output: Path,
    *,
    attacks: tuple[AttackSpec, ...] = (),
    limit: int | None = None,
    batch_size: int,
    device: str,
) -> float:
    """Seconds that it takes to extract test images, from images in files to rows in files.

    Of the device, as `now` counts them.

    Args:
        network: The network.
        data: What `draw_photos` gave.
        preprocessing: How images become its input.
        output: Folder of the table; of one that is there, only what it lacks is made.
        attacks: What is done to the images.
        limit: Only so many of them.
        batch_size: Images that the network sees at once.
        device: Where it runs.
    """
    splits = load_splits(data, preprocessing=preprocessing)
    options = ExtractOptions(
        output=output,
        splits=(SplitName.TEST,),
        attacks=attacks,
        limit=limit,
        batch_size=batch_size,
        device=device,
    )
    started = now(torch.device(device))
    extract(network, splits, options)
    return now(torch.device(device)) - started
