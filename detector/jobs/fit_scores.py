"""Fits the scores of paths on the clean rows of a path table."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from detector.errors import CalibrationError
from detector.path_table import CLEAN, PathTable, SplitName
from detector.scoring import CleanImages, Observation, PathScores, PathStatistics

__all__ = ["clean_split", "fit_path_scores", "read_clean_images"]

_SAMPLE = 3000
"""Clean images that are kept one by one, for scores that sums do not serve: they are in memory."""
_LEAST_PER_CLASS = 5
"""So many of each class all the same, for their nearest neighbours."""


def clean_split(table: PathTable) -> SplitName:
    """Where the path distributions come from: the train split where the table has it, or fit."""
    held = {part.split for part in table.parts if part.attack == CLEAN}
    return SplitName.TRAIN if SplitName.TRAIN in held else SplitName.FIT


def fit_path_scores(table: PathTable) -> PathScores:
    """Scores of a table's clean paths, fitted on what `read_clean_images` gives.

    Args:
        table: The path table.

    Raises:
        CalibrationError: If a class has no image.
        DataError: If the table cannot be read.
    """
    clean = read_clean_images(table)
    return PathScores(clean.layout, clean.classes).fit(clean).eval()


def read_clean_images(table: PathTable) -> CleanImages:
    """A table's clean images on the split that `clean_split` names, for scores to be fitted on.

    Images that the network gets wrong are left out: their paths belong to no class.

    Args:
        table: The path table.

    Raises:
        CalibrationError: If a class has no image.
        DataError: If the table cannot be read.
    """
    names = table.info.class_names
    split = clean_split(table)
    statistics: PathStatistics | None = None
    sample = _Sample(len(names))
    for rows in table.batches(split):
        right = rows.predictions == rows.labels
        part = PathStatistics.of(rows.path[right], rows.labels[right], len(names))
        statistics = part if statistics is None else statistics + part
        sample.add(rows.seen[right], rows.labels[right], rows.image_ids[right])
    counts = [0] * len(names) if statistics is None else statistics.counts.tolist()
    empty = [name for name, count in zip(names, counts, strict=True) if not count]
    if statistics is None or empty:
        raise CalibrationError(
            f"Each class should have at least one {split} image that the network gets right. "
            f"Found none of {', '.join(empty)}. Extract more images or train the network longer."
        )
    return sample.beside(statistics)


class _Sample:
    """The first images of each class, as many as there is room for.

    Args:
        classes: Number of classes, K.
    """

    def __init__(self, classes: int) -> None:
        self._room = torch.full((classes,), max(_LEAST_PER_CLASS, _SAMPLE // classes))
        self._seen: list[Observation] = []
        self._labels: list[Tensor] = []
        self._image_ids: list[Tensor] = []

    def add(self, seen: Observation, labels: Tensor, image_ids: Tensor) -> None:
        member = functional.one_hot(labels, len(self._room))  # (B, K)
        place = (member.cumsum(dim=0) * member).sum(dim=1)  # 1 for the first of its class
        kept = place <= self._room[labels]
        self._room -= torch.bincount(labels[kept], minlength=len(self._room))
        self._seen.append(seen[kept])
        self._labels.append(labels[kept])
        self._image_ids.append(image_ids[kept])

    def beside(self, statistics: PathStatistics) -> CleanImages:
        """The sample beside the sums over all images that it is taken from."""
        return CleanImages(
            statistics=statistics,
            sample=Observation.concatenate(self._seen),
            labels=torch.cat(self._labels),
            image_ids=torch.cat(self._image_ids),
        )
