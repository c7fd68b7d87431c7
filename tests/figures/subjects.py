"""The networks whose speed is measured: the bundled default, and some whose weights are random."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from detector.bundle import DEFAULT_BUNDLE
from detector.decoupling import Backbone
from detector.preprocessing import CIFAR10_PREPROCESSING, IMAGENET_PREPROCESSING
from detector.weights import NetworkInfo
from tests.figures.bench import Bench
from tests.figures.untrained import save_untrained

__all__ = ["Subject", "mosaics", "resnet18", "resnet20", "resnet50", "resnet56"]

_CLASSES = tuple(f"class {index}" for index in range(10))
_SMALL_IMAGES = 512
_LARGE_IMAGES = 64
_TILES = 7
_TRAINED_ON = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A network to be served, and what callers send it.

    Args:
        name: What it is called in figures.
        bundle: Folder of its bundle.
        pixels: File of its images, an .npy of uint8 (N, H, W, 3).
    """

    name: str
    bundle: Path
    pixels: Path


@contextmanager
def resnet20(bench: Bench) -> Iterator[Subject]:
    """The bundled default with test images."""
    with TemporaryDirectory(prefix="offpath-figures-") as folder:
        pixels = _saved(folder, _rows(bench.pixels(bench.splits.test, _SMALL_IMAGES)))
        yield Subject(name="ResNet-20", bundle=DEFAULT_BUNDLE, pixels=pixels)


@contextmanager
def resnet56(bench: Bench) -> Iterator[Subject]:
    """An untrained ResNet-56 with test images."""
    info = NetworkInfo(
        backbone=Backbone.CIFAR_RESNET56,
        class_names=_CLASSES,
        preprocessing=CIFAR10_PREPROCESSING,
    )
    images = bench.pixels(bench.splits.test, _SMALL_IMAGES)
    with _untrained("ResNet-56", info, images) as subject:
        yield subject


def resnet18(bench: Bench) -> AbstractContextManager[Subject]:
    """An untrained ResNet-18 with mosaics of 224 x 224: more detail than photographs have."""
    return _large(bench, "ResNet-18", Backbone.RESNET18)


def resnet50(bench: Bench) -> AbstractContextManager[Subject]:
    """An untrained ResNet-50 with the same images."""
    return _large(bench, "ResNet-50", Backbone.RESNET50)


@contextmanager
def _large(bench: Bench, name: str, backbone: Backbone) -> Iterator[Subject]:
    info = NetworkInfo(
        backbone=backbone, class_names=_CLASSES, preprocessing=IMAGENET_PREPROCESSING
    )
    tiles = bench.pixels(bench.splits.test, _LARGE_IMAGES * _TILES**2)
    with _untrained(f"{name} at 224", info, mosaics(tiles)) as subject:
        yield subject


@contextmanager
def _untrained(name: str, info: NetworkInfo, images: Tensor) -> Iterator[Subject]:
    with TemporaryDirectory(prefix="offpath-figures-") as folder:
        bundle = Path(folder) / "bundle"
        save_untrained(bundle, info, images[:_TRAINED_ON])
        yield Subject(name=name, bundle=bundle, pixels=_saved(folder, _rows(images)))


def mosaics(tiles: Tensor) -> Tensor:
    """Images (N n^2, 3, h, w) as N larger ones, (N, 3, n h, n w)."""
    _, channels, height, width = tiles.shape
    grid = tiles.view(-1, _TILES, _TILES, channels, height, width).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(-1, channels, _TILES * height, _TILES * width)


def _rows(images: Tensor) -> NDArray[np.uint8]:
    rows: NDArray[np.uint8] = images.permute(0, 2, 3, 1).contiguous().numpy()
    return rows


def _saved(folder: str, rows: NDArray[np.uint8]) -> Path:
    path = Path(folder) / "pixels.npy"
    np.save(path, rows)
    return path
