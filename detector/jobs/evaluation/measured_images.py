"""Everything that an evaluation needs of one part of a path table, image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.baselines import Baseline
from detector.path_table import CLEAN, PathTable, SplitName
from detector.scoring import Statistics

__all__ = ["MeasuredImages", "measure_images"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MeasuredImages:
    """Statistics of some images under one attack, or of clean ones, and what became of them.

    Args:
        attack: Label of the attack, or ``clean``.
        image_ids: Index of each image within its source, int64 of shape (N,).
        labels: True classes, int64 of shape (N,).
        original: Classes predicted before the attack, int64 of shape (N,).
        predicted: Predicted classes, int64 of shape (N,).
        success: Whether the attack succeeded, bool of shape (N,).
        statistics: What all scores say, float of shape (N, S).
        bits: Open gates, bool of shape (N, G).
        baselines: Scores of each baseline, float of shape (N,), by its name.
    """

    attack: str
    image_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    original: NDArray[np.int64]
    predicted: NDArray[np.int64]
    success: NDArray[np.bool_]
    statistics: Tensor
    bits: NDArray[np.bool_]
    baselines: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def right_before(self) -> NDArray[np.bool_]:
        """Which images were classified right before the attack."""
        return np.equal(self.original, self.labels)

    def rows(self, chosen: NDArray[np.bool_]) -> MeasuredImages:
        """Some of the images, by a mask."""
        mask = torch.from_numpy(chosen)
        return replace(
            self,
            image_ids=self.image_ids[chosen],
            labels=self.labels[chosen],
            original=self.original[chosen],
            predicted=self.predicted[chosen],
            success=self.success[chosen],
            statistics=self.statistics[mask],
            bits=self.bits[chosen],
            baselines={name: scores[chosen] for name, scores in self.baselines.items()},
        )

    def with_statistics(self, statistics: Tensor) -> MeasuredImages:
        """The same images with other statistics, (N, S)."""
        return replace(self, statistics=statistics)


@torch.inference_mode()
def measure_images(
    table: PathTable,
    split: SplitName,
    attack: str = CLEAN,
    *,
    statistics: Statistics,
    baselines: Sequence[Baseline] = (),
    limit: int | None = None,
) -> MeasuredImages:
    """Read a part of a table and let all scores look at it.

    Args:
        table: The path table; a few of its rows are in memory at a time.
        split: Which split.
        attack: Label of the attack, or ``clean``.
        statistics: Fitted scores; their copies have to be in the table.
        baselines: Fitted baselines, likewise.
        limit: Only so many of the first rows; all by default.

    Raises:
        DataError: If the part or its copies are not there.
    """
    copies = dict.fromkeys((*statistics.copies, *(c for each in baselines for c in each.copies)))
    found: dict[str, list[Tensor]] = {}
    names = [each.names[0] for each in baselines]
    left = limit
    for rows in table.with_copies(split, attack, copies=tuple(copies)):
        take = slice(0, len(rows) if left is None else min(left, len(rows)))
        original, seen = rows.original, rows.seen[take]
        parts = {
            "image_ids": original.image_ids[take],
            "labels": original.labels[take],
            "original": original.original_predictions[take],
            "predicted": original.predictions[take],
            "success": original.success[take],
            "statistics": statistics(seen),
            "bits": seen.path.bits,
            **{name: each(seen)[:, 0] for name, each in zip(names, baselines, strict=True)},
        }
        for key, value in parts.items():
            found.setdefault(key, []).append(value)
        if left is not None:
            left -= len(seen)
            if left <= 0:
                break
    whole = {key: torch.cat(values) for key, values in found.items()}
    return MeasuredImages(
        attack=attack,
        image_ids=whole["image_ids"].numpy(),
        labels=whole["labels"].numpy(),
        original=whole["original"].numpy(),
        predicted=whole["predicted"].numpy(),
        success=whole["success"].numpy(),
        statistics=whole["statistics"],
        bits=whole["bits"].numpy(),
        baselines={name: whole[name].double().numpy() for name in names},
    )
