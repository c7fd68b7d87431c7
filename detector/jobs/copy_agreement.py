"""Which copies leave a network's predictions alone: a flip says nothing about digits or text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

from detector.errors import CalibrationError, InvalidInputError
from detector.path_table import PathTable, SplitName

__all__ = ["LEAST_AGREEMENT", "CopyAgreement", "copy_agreements", "unsuitable_copies"]

LEAST_AGREEMENT = 0.85
"""Share of clean images whose class a copy has to keep."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyAgreement:
    """How often a network predicts the same class for clean images and for one copy of them.

    Args:
        copy: Name of the copy.
        images: Number of images, positive.
        agreeing: How many of them kept their class.
        low: Lower end of the interval of the share of all such images that do.
        high: Its upper end.
    """

    copy: str
    images: int
    agreeing: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Share of these images that kept their class."""
        return self.agreeing / self.images

    @classmethod
    def of(
        cls, copy: str, *, agreeing: int, images: int, confidence: float = 0.95
    ) -> CopyAgreement:
        """The agreement with its interval.

        Args:
            copy: Name of the copy.
            agreeing: How many images kept their class.
            images: Of how many, positive.
            confidence: Of the two-sided interval, in (0, 1).

        Reference:
            Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927:
            stays within [0, 1] and keeps its level near 1, where good copies are.
        """
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        share, weight = agreeing / images, z * z / images
        middle = (share + weight / 2) / (1 + weight)
        half = math.sqrt(share * (1 - share) * weight + weight * weight / 4) / (1 + weight)
        return cls(
            copy=copy,
            images=images,
            agreeing=agreeing,
            low=max(0.0, middle - half),
            high=min(1.0, middle + half),
        )


def copy_agreements(
    table: PathTable, split: SplitName = SplitName.FIT
) -> tuple[CopyAgreement, ...]:
    """Agreement of each copy that a table has of clean images, in its order.

    Args:
        table: The path table; a few of its rows are in memory at a time.
        split: Which split; not the training split, whose images the network knows too well, and
            not the test split, on which nothing may be chosen.

    Raises:
        CalibrationError: If the table has no copy of these images.
        DataError: If the table cannot be read.
    """
    names = table.part(split).copies
    if not names:
        raise CalibrationError(
            f"{table.folder} should hold copies of clean {split} images. Found none. "
            f"Run `offpath extract` with --split {split} and --copy flip, --copy shift:left, ..."
        )
    agreeing, images = dict.fromkeys(names, 0), 0
    for rows in table.with_copies(split):
        images += len(rows)
        for name, copied in rows.copies.items():
            agreeing[name] += int((copied.predictions == rows.original.predictions).sum())
    if not images:
        raise CalibrationError(
            f"{table.folder} should hold clean {split} images. Found none. Extract more images."
        )
    return tuple(CopyAgreement.of(name, agreeing=agreeing[name], images=images) for name in names)


def unsuitable_copies(
    agreements: Iterable[CopyAgreement], *, least: float = LEAST_AGREEMENT
) -> tuple[CopyAgreement, ...]:
    """The copies to drop: those that do not surely leave most clean predictions alone.

    Args:
        agreements: What `copy_agreements` found.
        least: Share of clean images whose class a copy has to keep, in (0, 1); the lower end of
            the interval has to reach it, so that few images speak for no copy. Flips of digits
            keep about a half. A threshold near 1 would drop what a network bears a little less
            well, and calibration is on clean images anyway: a copy that disagrees now and then
            costs power, never the promise.

    Raises:
        InvalidInputError: If ``least`` is out of range.
    """
    if not 0 < least < 1:
        raise InvalidInputError(
            f"least should lie between 0 and 1, both excluded. Found {least:g}.", field="least"
        )
    return tuple(found for found in agreements if found.low < least)
