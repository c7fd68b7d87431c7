"""The four splits that must never meet: train, fit, calibration, test.

Each split has a type of its own, so that a function which takes the images of one cannot be handed
those of another, and mypy says so. Behind extraction there are rows instead of images; those of the
calibration split have their own type there too, see `detector.path_table.CalibrationRows`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import shorten

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

    def resized(self, side: int | None) -> Splits:
        """The same images for a network that reads another size, see `Preprocessing.resized`.

        Args:
            side: Height and width of its input, pixels; None leaves it as it is.
        """
        if side is None:
            return self
        return replace(self, preprocessing=self.preprocessing.resized(side))

    @classmethod
    def divide(
        cls,
        train: ImageSource,
        test: ImageSource,
        *,
        preprocessing: Preprocessing,
        fit: ImageSource | None = None,
        calibration: ImageSource | None = None,
        fit_share: float = 0.03,
        calibration_share: float = 0.07,
    ) -> Splits:
        """Hold out the fit and calibration images from the training ones, class by class.

        The division depends on the number of images alone, so that every job finds the same one.

        Args:
            train: The training images.
            test: The test images, used as they are.
            preprocessing: How images become the network's input.
            fit: Images to fit on, used as they are; held out of the training images by default.
            calibration: Images to calibrate on, likewise.
            fit_share: Share of each class that the detector is fitted on, where it is held out.
            calibration_share: Share of each class that it is calibrated on, where it is held out.

        Raises:
            DataError: If there are not two classes, a class has too few images to give one to
                each split, or the class names of the training images and others differ.
        """
        _check_classes(train, {"test": test, "fit": fit, "calibration": calibration})
        fit_ids, calibration_ids, train_ids = _divided(
            train,
            fit=0.0 if fit is not None else fit_share,
            calibration=0.0 if calibration is not None else calibration_share,
        )
        return cls(
            train=TrainImages(train, train_ids),
            fit=FitImages(train, fit_ids) if fit is None else FitImages(fit, _all(fit)),
            calibration=CalibrationImages(train, calibration_ids)
            if calibration is None
            else CalibrationImages(calibration, _all(calibration)),
            test=TestImages(test, _all(test)),
            preprocessing=preprocessing,
        )


def _all(source: ImageSource) -> NDArray[np.int64]:
    return np.arange(len(source))


def _divided(train: ImageSource, **shares: float) -> list[NDArray[np.int64]]:
    """Ids of the images that are held out for each share, and of the rest; no share, no image."""
    generator = np.random.default_rng(20200823)
    parts: list[list[NDArray[np.int64]]] = [[] for _ in (*shares, "train")]
    splits = ["train", *(name for name, share in shares.items() if share)]
    for label, name in enumerate(train.class_names):
        members = generator.permutation(np.flatnonzero(train.labels == label))
        counts = [max(1, round(share * len(members))) if share else 0 for share in shares.values()]
        if len(members) <= sum(counts):
            raise DataError(
                f"Each class should have at least {len(splits)} training images, one for each of "
                f"these splits: {', '.join(splits)}. Found {len(members)} of {name}. "
                "Add images or leave the class out."
            )
        for part, chosen in zip(parts, np.split(members, np.cumsum(counts)), strict=True):
            part.append(chosen)
    return [np.sort(np.concatenate(part)) for part in parts]


def _check_classes(train: ImageSource, others: Mapping[str, ImageSource | None]) -> None:
    """Refuse what cannot be told apart, and images of classes that are not trained."""
    if len(train.class_names) < 2:
        raise DataError(
            "There should be at least two classes to tell apart. "
            f"Found one, {train.class_names[0]}. Add the images of another class: without one "
            "there is no wrong class that an attack could lead to."
        )
    for name, source in others.items():
        if source is None or source.class_names == train.class_names:
            continue
        known, found = set(train.class_names), set(source.class_names)
        lacking, strange = sorted(known - found), sorted(found - known)
        differences = [
            f"{what} {shorten(', '.join(names), 200)}"
            for what, names in (("none of", lacking), ("besides", strange))
            if names
        ]
        raise DataError(
            f"The {name} images should have the {len(known)} classes of the training images, in "
            f"the same order. Found {' and '.join(differences) or 'another order'}. Name the "
            "classes alike; leave out what is not to be told apart."
        )
