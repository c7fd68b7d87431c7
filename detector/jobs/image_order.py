"""Which images of a split are extracted, and in which order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.data import CalibrationImages, FitImages, Splits, TestImages, TrainImages
from detector.path_table import SplitName

__all__ = ["AnyImages", "ImageOrder", "images_of"]

AnyImages = TrainImages | FitImages | CalibrationImages | TestImages
"""The images of one split, whichever it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageOrder:
    """The images of one split in the order of extraction.

    Args:
        images: The split.
        order: Its rows in that order, all of them, int64 of shape (N,).
        asked: How many of them are asked for.
    """

    images: AnyImages
    order: NDArray[np.int64]
    asked: int

    @classmethod
    def of(cls, splits: Splits, name: SplitName, limit: int | None) -> ImageOrder:
        """The order of a split; it depends on the number of its images alone.

        Args:
            splits: The data set.
            name: Which split.
            limit: How many images are asked for; all by default.
        """
        images = images_of(splits, name)
        # Folders list their images class by class: the first of them would all be of one class.
        order = np.random.default_rng(20200823).permutation(len(images))
        asked = len(order) if limit is None else min(limit, len(order))
        return cls(images=images, order=order, asked=asked)


def images_of(splits: Splits, name: SplitName) -> AnyImages:
    """The images of a split, by its name."""
    match name:
        case SplitName.TRAIN:
            return splits.train
        case SplitName.FIT:
            return splits.fit
        case SplitName.CALIBRATION:
            return splits.calibration
        case SplitName.TEST:
            return splits.test
