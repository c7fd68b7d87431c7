"""The four splits that must never meet: train, fit, calibration, test.

Each split has a type of its own, so that a function which takes the images of one cannot be handed
those of another, and mypy says so. Behind extraction there are rows instead of images; those of the
calibration split have their own type there too, see `detector.path_table.CalibrationRows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from detector.data.sources import ImageSource
from detector.errors import DataError
from detector.preprocessing import Preprocessing

__all__ = ["CalibrationImages", "FitImages", "Images", "Splits", "TestImages", "TrainImages"]


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

    def digest(self) -> str:
        """SHA-256 that tells these images from others: of classes, ids, labels and contents.

        Of images in folders, the contents are names and a sample of the files.
        """
        return self.source.digest(self.ids)


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
                    f"train, fit and calibration splits. Found {len(members)} of {name}. "
                    "Add images or leave the class out."
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
