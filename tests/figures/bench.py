"""What the figures share: the data, the bundled default, and its findings on the test images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.bundle import Bundle, load_bundle
from detector.data import Images, Splits, load_splits
from detector.jobs.cifar10 import fetch_cifar10
from detector.pipeline import LevelName, Pipeline

__all__ = ["Bench", "Observed"]

_DATA = Path("build/cifar10.npz")
_BATCH = 250


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """The pipeline's findings on some images.

    Args:
        scores: Shape (N,).
        predicted: Shape (N,).
        bits: Open gates, bool of shape (N, G).
    """

    scores: NDArray[np.float64]
    predicted: NDArray[np.int64]
    bits: NDArray[np.bool_]


class Bench:
    """Loads what the figures need when they need it.

    Args:
        data: A CIFAR-10 .npz file; fetched into build/ where none is given.
    """

    def __init__(self, data: Path | None = None) -> None:
        self._data = data

    @cached_property
    def data_path(self) -> Path:
        """The data file, fetched if it has to be."""
        if self._data is not None:
            return self._data
        if not _DATA.exists():
            fetch_cifar10(_DATA)
        return _DATA

    @cached_property
    def splits(self) -> Splits:
        """The four splits of CIFAR-10."""
        return load_splits(self.data_path)

    @cached_property
    def bundle(self) -> Bundle:
        """The bundled default."""
        return load_bundle()

    @property
    def pipeline(self) -> Pipeline:
        """The bundled default's pipeline."""
        return self.bundle.pipeline

    @property
    def clean(self) -> Observed:
        """Findings on all clean test images at the default level."""
        return self.clean_at[self.pipeline.default_level]

    @cached_property
    def clean_at(self) -> dict[LevelName, Observed]:
        """Findings on all clean test images at each level."""
        return self.observe(self.pixels(self.splits.test, len(self.splits.test)))

    def pixels(self, images: Images, count: int) -> Tensor:
        """The first images of a split, uint8 of shape (count, 3, H, W)."""
        return images.read(range(count), self.pipeline.preprocessing)

    def observe(self, pixels: Tensor) -> dict[LevelName, Observed]:
        """Run the pipeline over uint8 images (N, 3, H, W) at each level; the network runs once."""
        pipeline = self.pipeline
        copies = max((level.copies for level in pipeline.levels.values()), key=len)
        seen = [pipeline.observe(batch, copies) for batch in pixels.split(_BATCH)]
        found = {}
        for level in pipeline.levels:
            parts = [pipeline.judge(each, level) for each in seen]
            found[level] = Observed(
                scores=torch.cat([each.scores for each in parts]).double().numpy(),
                predicted=torch.cat([each.predicted for each in parts]).numpy(),
                bits=torch.cat([each.path.bits for each in parts]).numpy(),
            )
        return found
