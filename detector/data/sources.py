"""Labelled images that are read on demand, from memory or from folders."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from detector.errors import DataError, ImageError
from detector.images import ImageLimits, decode_image
from detector.preprocessing import Preprocessing

__all__ = ["ArraySource", "FolderSource", "ImageSource"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_DEFAULT_LIMITS = ImageLimits()
_SAMPLE = 256
"""How many images a digest reads where reading all would take hours."""
_CHUNK = 1000


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

    def digest(self, ids: NDArray[np.int64]) -> str:
        """SHA-256 over classes, ids, labels and contents of some images, as hex.

        Args:
            ids: Which images, int64 of shape (N,).
        """
        digest = hashlib.sha256(repr(self.class_names).encode())
        digest.update(ids.astype("<i8").tobytes())
        digest.update(self.labels[ids].astype("<i8").tobytes())
        for part in self._contents(ids):
            digest.update(part)
        return digest.hexdigest()

    @abstractmethod
    def _contents(self, ids: NDArray[np.int64]) -> Iterator[bytes]:
        """What tells these images from others, cheap to read; for `digest`."""


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

    @override
    def _contents(self, ids: NDArray[np.int64]) -> Iterator[bytes]:
        for start in range(0, len(ids), _CHUNK):
            yield self._images[ids[start : start + _CHUNK]].tobytes()


class FolderSource(ImageSource):
    """Images in one folder a class; memory stays flat.

    Files that end in .png, .jpg, .jpeg or .webp are taken, all others left out. They are decoded
    as the server decodes what it is sent, so that training and calibration see what serving sees.

    Args:
        root: Folder of class folders.
        limits: Which sizes are taken.

    Raises:
        DataError: If there is no class folder, or one without an image.
    """

    def __init__(self, root: Path, *, limits: ImageLimits = _DEFAULT_LIMITS) -> None:
        folders = sorted(folder for folder in root.glob("*") if folder.is_dir())
        if not folders:
            raise DataError(
                f"{root} should hold one folder of images a class. Found no folder. "
                "Point to the folder above the class folders."
            )
        self._root = root
        self._limits = limits
        self._paths: list[Path] = []
        labels: list[int] = []
        for label, folder in enumerate(folders):
            found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
            if not found:
                raise DataError(
                    f"{folder} should hold at least one image of its class "
                    f"({', '.join(sorted(_SUFFIXES))}). Found none. Add some or remove the folder."
                )
            self._paths += found
            labels += [label] * len(found)
        super().__init__(np.array(labels, dtype=np.int64), [folder.name for folder in folders])

    @override
    def load(self, index: int) -> Tensor:
        try:
            return decode_image(self._bytes(index), limits=self._limits)
        except ImageError as error:
            raise DataError(
                f"{self._paths[index]} should be a readable image of the kind that the server "
                f"takes. Found another: {error} Convert or repair the file, or remove it before "
                "a run begins: one that has begun goes on with the same files alone."
            ) from error

    @override
    def _contents(self, ids: NDArray[np.int64]) -> Iterator[bytes]:
        for index in ids:
            yield f"{self._paths[index].relative_to(self._root)}\n".encode()
        for index in ids[:: max(1, len(ids) // _SAMPLE)]:
            yield self._bytes(int(index))

    def _bytes(self, index: int) -> bytes:
        path = self._paths[index]
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{path} should be a readable file. Found: {error.strerror or error}. "
                "Give the data set as it was when the run began."
            ) from error
