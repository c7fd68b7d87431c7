"""Training batches that depend on seed, epoch and position alone, so that a run can continue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from detector.data import TrainImages
from detector.decoupling.recipes import Crop
from detector.errors import DataError
from detector.preprocessing import Preprocessing

__all__ = ["BatchOrder", "TrainingBatches", "read_from", "seeded", "training_loader"]

_PADDING = 4


def seeded(*parts: int) -> torch.Generator:
    """A generator whose stream is fixed by a few whole numbers."""
    mixed = 0x9E3779B97F4A7C15
    for part in parts:
        mixed = ((mixed ^ part) * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) % 2**63
    return torch.Generator().manual_seed(mixed)


class BatchOrder(Sampler[list[int]]):
    """A fresh order of the images for each epoch; the last incomplete batch is left out.

    Args:
        images: Number of images.
        batch_size: Images a batch.
        seed: Seed of the run.
    """

    def __init__(self, images: int, batch_size: int, seed: int) -> None:
        self.images = images
        self.batch_size = min(batch_size, images)
        self.seed = seed
        self.drop_last = True
        self.epoch = 0
        self.start = 0

    def move_to(self, epoch: int, start: int) -> None:
        """Go to an epoch and leave out its first `start` batches."""
        self.epoch = epoch
        self.start = start

    def __len__(self) -> int:
        return self.images // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self.images, generator=seeded(self.seed, self.epoch)).tolist()
        for batch in range(self.start, len(self)):
            yield order[batch * self.batch_size : (batch + 1) * self.batch_size]


class TrainingBatches(Dataset[tuple[Tensor, Tensor]]):
    """Augmented images, read a batch at a time.

    Args:
        images: The training split.
        preprocessing: How images become the network's input.
        crop: How they are cropped.
        order: Where the epoch is kept.
    """

    def __init__(
        self, images: TrainImages, preprocessing: Preprocessing, crop: Crop, order: BatchOrder
    ) -> None:
        self.images = images
        self.labels = torch.from_numpy(images.labels)
        self.preprocessing = preprocessing
        self.crop = crop
        self.order = order

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pixels, labels = self.__getitems__([index])
        return pixels[0], labels[0]

    def __getitems__(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        """Normalised images (B, 3, H, W) and labels (B,)."""
        generator = seeded(self.order.seed, self.order.epoch, rows[0], 1)
        if self.crop is Crop.PAD_4:
            pixels = _pad_and_crop(self.images.read(rows, self.preprocessing), generator)
        else:
            pixels = self._resized_crops(rows, generator)
        pixels = _flip(pixels, generator)
        return self.preprocessing(pixels), self.labels[rows]

    def _resized_crops(self, rows: list[int], generator: torch.Generator) -> Tensor:
        size = [self.preprocessing.height, self.preprocessing.width]
        crop = v2.RandomResizedCrop(size, antialias=True)
        seed = int(torch.randint(2**31, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return torch.stack(
                [crop(self.images.source.load(int(self.images.ids[row]))) for row in rows]
            )


def _pad_and_crop(images: Tensor, generator: torch.Generator) -> Tensor:
    count, _, height, width = images.shape
    padded = functional.pad(images, (_PADDING,) * 4)
    top, left = torch.randint(2 * _PADDING + 1, (2, count), generator=generator).numpy()
    windows = np.lib.stride_tricks.sliding_window_view(
        padded.numpy(), (height, width), axis=(2, 3)
    )  # numpy copies the chosen windows many times faster than torch gathers them
    return torch.from_numpy(windows[np.arange(count), :, top, left])


def _flip(images: Tensor, generator: torch.Generator) -> Tensor:
    flipped = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(flipped, images.flip(3), images)


def training_loader(batches: TrainingBatches, *, workers: int) -> DataLoader[Any]:
    """A loader that hands out whole batches as `TrainingBatches` makes them.

    Args:
        batches: The images.
        workers: Processes that read ahead; 0 reads in the training process.
    """
    return DataLoader(
        batches, batch_sampler=batches.order, collate_fn=_as_it_is, num_workers=workers
    )


def read_from(loader: Iterable[Any]) -> Iterator[Any]:
    """The batches of a loader, with errors as they are told where nothing reads ahead.

    Raises:
        DataError: If an image cannot be read.
    """
    try:
        yield from loader
    except DataError as error:
        # Torch puts the traceback of the process that reads ahead before its message.
        message = str(error).rpartition(f"{DataError.__name__}: ")[2].strip()
        raise DataError(message) from error


def _as_it_is(batch: Any) -> Any:
    return batch
