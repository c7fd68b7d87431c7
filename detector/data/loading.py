"""Finds the data set at a path: an .npz file, torchvision's CIFAR-10, or folders of images."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torchvision.datasets import CIFAR10

from detector.data.sources import ArraySource, FolderSource
from detector.data.splits import Splits
from detector.errors import DataError
from detector.preprocessing import CIFAR10_PREPROCESSING, IMAGENET_PREPROCESSING, Preprocessing

__all__ = ["CIFAR10_CLASSES", "load_splits"]

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

# What numpy raises for a missing, truncated or altered .npz file.
_UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)
_NPZ_KEYS = ("train_images", "train_labels", "test_images", "test_labels")


def load_splits(path: Path, *, preprocessing: Preprocessing | None = None) -> Splits:
    """The data set at a path, divided into its four splits.

    Args:
        path: One of: an .npz file with ``train_images``, ``train_labels``, ``test_images`` and
            ``test_labels``; a folder in which torchvision keeps CIFAR-10; a folder with ``train``
            and ``test`` (or ``val``), each holding one folder of PNG, JPEG or WebP files a class;
            where it has ``fit`` or ``calibration`` beside them, these are used as they are,
            instead of a part of ``train``.
        preprocessing: How images become the network's input; by default that of CIFAR-10 for the
            first two and that of ImageNet for the last.

    Raises:
        DataError: If there is no such data set at the path.
    """
    if path.suffix == ".npz":
        train, test = _npz(path)
        return Splits.divide(train, test, preprocessing=preprocessing or CIFAR10_PREPROCESSING)
    if (path / CIFAR10.base_folder).is_dir():
        train, test = _torchvision_cifar10(path)
        return Splits.divide(train, test, preprocessing=preprocessing or CIFAR10_PREPROCESSING)
    held_out = next((path / name for name in ("test", "val") if (path / name).is_dir()), None)
    if (path / "train").is_dir() and held_out is not None:
        return Splits.divide(
            FolderSource(path / "train"),
            FolderSource(held_out),
            preprocessing=preprocessing or IMAGENET_PREPROCESSING,
            fit=_own(path / "fit"),
            calibration=_own(path / "calibration"),
        )
    raise DataError(
        f"{path} should be an .npz file, a folder with torchvision's CIFAR-10 "
        f"({CIFAR10.base_folder}/) or a folder with train/ and test/ (or val/). "
        f"Found {'none of these there' if path.exists() else 'nothing there'}. "
        "Give one of the three with --data."
    )


def _own(path: Path) -> FolderSource | None:
    return FolderSource(path) if path.is_dir() else None


def _npz(path: Path) -> tuple[ArraySource, ArraySource]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            missing = [key for key in _NPZ_KEYS if key not in file]
            if missing:
                raise DataError(
                    f"{path} should hold the arrays {', '.join(_NPZ_KEYS)}. "
                    f"Found no {', '.join(missing)}."
                )
            arrays = [file[key] for key in _NPZ_KEYS]
            named = file["class_names"].tolist() if "class_names" in file else None
    except (*_UNREADABLE, TypeError) as error:  # a bare array is no context: TypeError
        raise DataError(
            f"{path} should be a readable .npz file. Found: {error}. Write it again."
        ) from error
    train_images, train_labels, test_images, test_labels = arrays
    names = _default_names(train_labels) if named is None else [str(name) for name in named]
    return (
        ArraySource(train_images, train_labels, names),
        ArraySource(test_images, test_labels, names),
    )


def _default_names(labels: NDArray[Any]) -> Sequence[str]:
    if labels.dtype.kind not in "iu" or not labels.size:
        return ()
    classes = int(labels.max()) + 1
    return CIFAR10_CLASSES if classes == len(CIFAR10_CLASSES) else [str(c) for c in range(classes)]


def _torchvision_cifar10(path: Path) -> tuple[ArraySource, ArraySource]:
    try:
        parts = [CIFAR10(root=path, train=train, download=False) for train in (True, False)]
    except RuntimeError as error:
        raise DataError(
            f"{path} should hold torchvision's complete CIFAR-10. Found: {error}. "
            "Download it again."
        ) from error
    train, test = (
        ArraySource(part.data, np.array(part.targets, dtype=np.int64), CIFAR10_CLASSES)
        for part in parts
    )
    return train, test
