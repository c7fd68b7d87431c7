"""Fits the scores of paths on the clean rows of a path table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor
from torch.nn import functional

from detector.errors import CalibrationError
from detector.jobs.engines import Engine, LocalEngine, Report
from detector.path_table import CLEAN, PathRows, PathTable, Place, SplitName
from detector.scoring import CleanImages, Observation, PathScores, PathStatistics

__all__ = ["clean_split", "fit_path_scores", "read_clean_images"]

_SAMPLE = 3000
"""Clean images that are kept one by one, for scores that sums do not serve: they are in memory."""
_LEAST_PER_CLASS = 5
"""So many of each class all the same, for their nearest neighbours."""
_PIECES = 128
"""At most so many sums are added up, each of a run of shards.

The number is fixed, as sums that are grouped in another way can end in other bits.
"""


def clean_split(table: PathTable) -> SplitName:
    """Where the path distributions come from: the train split where the table has it, or fit."""
    held = {part.split for part in table.parts if part.attack == CLEAN}
    return SplitName.TRAIN if SplitName.TRAIN in held else SplitName.FIT


def fit_path_scores(table: PathTable, engine: Engine | None = None) -> PathScores:
    """Scores of a table's clean paths, fitted on what `read_clean_images` gives.

    Args:
        table: The path table.
        engine: Where its paths are summed; here by default.

    Raises:
        CalibrationError: If a class has no image.
        DataError: If the table cannot be read.
    """
    clean = read_clean_images(table, engine)
    return PathScores(clean.layout, clean.classes).fit(clean).eval()


def read_clean_images(table: PathTable, engine: Engine | None = None) -> CleanImages:
    """A table's clean images on the split that `clean_split` names, for scores to be fitted on.

    Images that the network gets wrong are left out: their paths belong to no class.

    Args:
        table: The path table.
        engine: Where they are summed; here by default.

    Raises:
        CalibrationError: If a class has no image.
        DataError: If the table cannot be read.
    """
    names = table.info.class_names
    split = clean_split(table)
    shards = table.shard_count(split)
    step = -(-shards // _PIECES) or 1
    pieces = [range(start, min(start + step, shards)) for start in range(0, shards, step)]
    work = _Sums(table=table.folder, split=split, classes=len(names))
    sums = (engine or LocalEngine()).in_order(work, pieces)
    statistics = next(sums, None)
    if statistics is not None:
        statistics = reduce(add, sums, statistics)
    counts = [0] * len(names) if statistics is None else statistics.counts.tolist()
    empty = [name for name, count in zip(names, counts, strict=True) if not count]
    if statistics is None or empty:
        raise CalibrationError(
            f"Each class should have at least one {split} image that the network gets right. "
            f"Found none of {', '.join(empty)}. Extract more images or train the network longer."
        )
    return _beside_sample(table, split, statistics)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sums:
    """Sums over the clean images of a run of shards that the network gets right."""

    table: Place
    split: SplitName
    classes: int

    def __call__(self, shards: range, _report: Report, /) -> PathStatistics:
        batches = PathTable(self.table).batches(self.split, shards=shards)
        return reduce(add, map(self._of, batches))

    def _of(self, rows: PathRows) -> PathStatistics:
        right = rows.predictions == rows.labels
        return PathStatistics.of(rows.path[right], rows.labels[right], self.classes)


def _beside_sample(table: PathTable, split: SplitName, statistics: PathStatistics) -> CleanImages:
    """The sums beside a sample; no more is read than that takes."""
    sample = _Sample(statistics.counts.to(torch.int64))
    for rows in table.batches(split):
        right = rows.predictions == rows.labels
        sample.add(rows.seen[right], rows.labels[right], rows.image_ids[right])
        if sample.is_full:
            break
    return sample.beside(statistics)


class _Sample:
    """The first images of each class, as many as there is room for.

    Args:
        counts: How many there are of each class, int64 of shape (K,).
    """

    def __init__(self, counts: Tensor) -> None:
        self._room = counts.clamp(max=max(_LEAST_PER_CLASS, _SAMPLE // len(counts)))
        self._seen: list[Observation] = []
        self._labels: list[Tensor] = []
        self._image_ids: list[Tensor] = []

    @property
    def is_full(self) -> bool:
        """Whether no class has room for more."""
        return not bool(self._room.any())

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
