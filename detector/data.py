"""Images and the four splits that must never meet: train, fit, calibration, test.

Each split has a type of its own, so that a function which calibrates cannot be handed the images
that something was fitted on, and mypy says so.
"""

from __future__ import annotations

import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR10
from torchvision.datasets.folder import IMG_EXTENSIONS
from typing_extensions import override

from detector.errors import DataError
from detector.preprocessing import CIFAR10_PREPROCESSING, IMAGENET_PREPROCESSING, Preprocessing

__all__ = [
    "CIFAR10_CLASSES",
    "ArraySource",
    "CalibrationImages",
    "FitImages",
    "FolderSource",
    "ImageSource",
    "Images",
    "Splits",
    "TestImages",
    "TrainImages",
    "load_splits",
]

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


class ImageSource(ABC):
    """Labelled images that are read on demand.

    Args:
        labels: Class index of each image, int64 of shape (N,).
        class_names: Name of each class.

    Raises:
        DataError: If there is no class, or one without an image.
    """

    def __init__(self, labels: NDArray[np.int64], class_names: Sequence[str]) -> None:
        self.labels = labels
        self.class_names = tuple(class_names)
        if not self.class_names:
            raise DataError("There should be at least one class of images. Found no image at all.")
        counts = np.bincount(labels, minlength=len(self.class_names))
        empty = [name for name, count in zip(self.class_names, counts, strict=True) if not count]
        if empty:
            raise DataError(
                f"Each class should have at least one image. Found none for {', '.join(empty)}. "
                "Add images or remove the class."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def load(self, index: int) -> Tensor:
        """One image as it is stored, uint8 of shape (3, H, W)."""

    def read(self, indices: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        """Images at the size of the network's input, uint8 of shape (B, 3, H, W)."""
        return torch.stack([preprocessing.fit(self.load(index)) for index in indices])


class ArraySource(ImageSource):
    """Images that lie in memory.

    Args:
        images: uint8 of shape (N, H, W, 3).
        labels: Class index of each image, whole numbers of shape (N,).
        class_names: Name of each class.

    Raises:
        DataError: If shapes or types are not these, or a class is empty.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.integer[Any]],
        class_names: Sequence[str],
    ) -> None:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise DataError(
                "Images should be a uint8 array of shape (N, H, W, 3). "
                f"Found {images.dtype} of shape {images.shape}."
            )
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
            raise DataError(
                f"Labels should be whole numbers of shape {images.shape[:1]}, one for each image. "
                f"Found {labels.dtype} of shape {labels.shape}."
            )
        if labels.size and not 0 <= labels.min() <= labels.max() < len(class_names):
            raise DataError(
                f"Labels should lie in 0..{len(class_names) - 1}. "
                f"Found {labels.min()}..{labels.max()}."
            )
        super().__init__(labels.astype(np.int64), class_names)
        self._images = images

    @override
    def load(self, index: int) -> Tensor:
        return torch.from_numpy(self._images[index]).permute(2, 0, 1)

    @override
    def read(self, indices: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        if self._images.shape[1:3] == (preprocessing.height, preprocessing.width):
            chosen = self._images[np.asarray(indices)]  # numpy gathers many times faster than torch
            return torch.from_numpy(chosen).permute(0, 3, 1, 2).contiguous()
        return super().read(indices, preprocessing)


class FolderSource(ImageSource):
    """Images in one folder a class, as torchvision's ImageFolder reads them; memory stays flat.

    Args:
        root: Folder of class folders.

    Raises:
        DataError: If there is no class folder, or one without an image.
    """

    def __init__(self, root: Path) -> None:
        folders = sorted(folder for folder in root.glob("*") if folder.is_dir())
        if not folders:
            raise DataError(
                f"{root} should hold one folder of images a class. Found no folder. "
                "Point to the folder above the class folders."
            )
        self._paths: list[Path] = []
        labels: list[int] = []
        for label, folder in enumerate(folders):
            found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMG_EXTENSIONS)
            self._paths += found
            labels += [label] * len(found)
        super().__init__(np.array(labels, dtype=np.int64), [folder.name for folder in folders])

    @override
    def load(self, index: int) -> Tensor:
        path = self._paths[index]
        try:
            with Image.open(path) as image:
                pixels = np.array(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(
                f"{path} should be a readable image. Found: {error}. Repair or remove the file."
            ) from error
        return torch.from_numpy(pixels).permute(2, 0, 1)


@dataclass(frozen=True, slots=True)
class Images:
    """Part of a source: the images of one split, by their ids within it."""

    source: ImageSource
    ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class index of each image of this split, int64 of shape (N,)."""
        return self.source.labels[self.ids]

    def read(self, rows: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        """Images of this split at the size of the network's input, uint8 of (B, 3, H, W)."""
        return self.source.read([int(self.ids[row]) for row in rows], preprocessing)


class TrainImages(Images):
    """What the network's weights are learnt from."""


class FitImages(Images):
    """What the detector's classifier is fitted on; also what training monitors itself with."""


class CalibrationImages(Images):
    """What the false-alarm promise rests on: nothing is ever learnt or chosen on them."""


class TestImages(Images):
    """What figures are reported on: nothing is learnt, chosen or calibrated on them."""

    __test__ = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """The four disjoint splits of a data set, and how its images are preprocessed."""

    train: TrainImages
    fit: FitImages
    calibration: CalibrationImages
    test: TestImages
    preprocessing: Preprocessing

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class."""
        return self.train.source.class_names

    @classmethod
    def divide(
        cls,
        train: ImageSource,
        test: ImageSource,
        *,
        preprocessing: Preprocessing,
        fit_share: float = 0.03,
        calibration_share: float = 0.07,
    ) -> Splits:
        """Hold out the fit and calibration images from the training ones, class by class.

        The division depends on the number of images alone, so that every job finds the same one.

        Args:
            train: The training images.
            test: The test images, used as they are.
            preprocessing: How images become the network's input.
            fit_share: Share of each class that the detector is fitted on.
            calibration_share: Share of each class that it is calibrated on.

        Raises:
            DataError: If a class has too few images to give one to each split, or if the class
                names of training and test images differ.
        """
        if train.class_names != test.class_names:
            raise DataError(
                f"Test images should have the classes of the training images, {train.class_names}. "
                f"Found {test.class_names}."
            )
        generator = np.random.default_rng(20200823)
        parts: list[list[NDArray[np.int64]]] = [[], [], []]
        for label, name in enumerate(train.class_names):
            members = generator.permutation(np.flatnonzero(train.labels == label))
            fit, calibration = (
                max(1, round(share * len(members))) for share in (fit_share, calibration_share)
            )
            if len(members) <= fit + calibration:
                raise DataError(
                    "Each class should have at least 3 training images, one for each of the "
                    f"train, fit and calibration splits. Found {len(members)} of {name}."
                )
            stops = [fit, fit + calibration]
            for part, chosen in zip(parts, np.split(members, stops), strict=True):
                part.append(chosen)
        fit_ids, calibration_ids, train_ids = (np.sort(np.concatenate(part)) for part in parts)
        return cls(
            train=TrainImages(train, train_ids),
            fit=FitImages(train, fit_ids),
            calibration=CalibrationImages(train, calibration_ids),
            test=TestImages(test, np.arange(len(test))),
            preprocessing=preprocessing,
        )


def load_splits(path: Path, *, preprocessing: Preprocessing | None = None) -> Splits:
    """The data set at a path, divided into its four splits.

    Args:
        path: One of: an .npz file with ``train_images``, ``train_labels``, ``test_images`` and
            ``test_labels``; a folder in which torchvision keeps CIFAR-10; a folder with ``train``
            and ``test`` (or ``val``), each holding one folder of images a class.
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
        )
    raise DataError(
        f"{path} should be an .npz file, a folder with torchvision's CIFAR-10 "
        f"({CIFAR10.base_folder}/) or a folder with train/ and test/ (or val/). "
        f"Found {'none of these there' if path.exists() else 'nothing there'}. "
        "Give one of the three with --data."
    )


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
