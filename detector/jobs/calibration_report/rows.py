"""The rows of a path table that a report is made from, as the scores of a bundle see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from detector.jobs.calibration_report.origin import Origin, Sources
from detector.jobs.evaluation.measured_images import MeasuredImages, measure_images
from detector.jobs.fit_rows import FitRows, Kind, kind_of
from detector.jobs.fit_scores import clean_split
from detector.path_table import CLEAN, PathTable, SplitName
from detector.scoring import Statistics

__all__ = ["SplitRows", "TableRows"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SplitRows:
    """One split: clean images, and what was done to them.

    Args:
        clean: Clean images.
        attacked: The images after each attack.
        harmless: The images after noise or corruptions.
    """

    clean: MeasuredImages
    attacked: tuple[MeasuredImages, ...]
    harmless: tuple[MeasuredImages, ...]

    @classmethod
    def read(cls, table: PathTable, split: SplitName, statistics: Statistics) -> SplitRows:
        """Everything that a table has of a split with the copies that are looked at.

        Args:
            table: The path table.
            split: Which split.
            statistics: Fitted scores.

        Raises:
            DataError: If there are no clean images with these copies, or a part is unfinished or
                damaged.
        """
        labels = _labels(table, split, statistics)
        attacked, harmless = (
            tuple(
                measure_images(table, split, label, statistics=statistics)
                for label in labels
                if kind_of(label) is kind
            )
            for kind in (Kind.ATTACK, Kind.NOISE)
        )
        clean = measure_images(table, split, statistics=statistics)
        return cls(clean=clean, attacked=attacked, harmless=harmless)

    @property
    def parts(self) -> tuple[MeasuredImages, ...]:
        """All of them, the clean ones first."""
        return (self.clean, *self.harmless, *self.attacked)

    @property
    def others(self) -> MeasuredImages:
        """The clean images that no attack was let loose on, or all where every one was attacked."""
        chosen = np.ones(len(self.clean), dtype=np.bool_)
        for each in self.attacked:
            chosen &= ~np.isin(self.clean.image_ids, each.image_ids)
        return self.clean.rows(chosen) if chosen.any() else self.clean

    def folds(self, count: int, seed: int) -> dict[int, int]:
        """Fold of each image by its index: a clean image and what was made of it share one.

        Args:
            count: Number of folds.
            seed: Seed of the choice.
        """
        images = np.unique(np.concatenate([part.image_ids for part in self.parts]))
        order = np.random.default_rng(seed).permutation(len(images)) % count
        return dict(zip(images.tolist(), order.tolist(), strict=True))

    def fit_rows(self) -> FitRows:
        """What fusions are fitted on; of attacked images only those on which attacks succeeded."""
        kept = [
            part.rows(part.success) if kind_of(part.attack) is Kind.ATTACK else part
            for part in self.parts
        ]
        return FitRows(
            statistics=torch.cat([part.statistics for part in kept]),
            image_ids=torch.from_numpy(np.concatenate([part.image_ids for part in kept])),
            parts=torch.repeat_interleave(
                torch.arange(len(kept)), torch.tensor([len(part) for part in kept])
            ),
            labels=tuple(part.attack for part in kept),
            kinds=tuple(kind_of(part.attack) for part in kept),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TableRows:
    """Everything that a report is made from.

    Args:
        statistics: What was measured: the path, and all copies that some level looks at.
        calibration: Clean calibration images.
        fit: The fit split.
        test: The test split; None where the table has it not.
        paths_of: Split that the path distributions were fitted on.
    """

    statistics: Statistics
    calibration: MeasuredImages
    fit: SplitRows
    test: SplitRows | None
    paths_of: SplitName

    @classmethod
    def read(cls, table: PathTable, statistics: Statistics) -> TableRows:
        """Let the scores look at a table.

        Args:
            table: The path table.
            statistics: Fitted scores.

        Raises:
            DataError: If the table lacks clean fit or calibration images with these copies.
        """
        has_test = CLEAN in _labels(table, SplitName.TEST, statistics)
        return cls(
            statistics=statistics,
            calibration=measure_images(table, SplitName.CALIBRATION, statistics=statistics),
            fit=SplitRows.read(table, SplitName.FIT, statistics),
            test=SplitRows.read(table, SplitName.TEST, statistics) if has_test else None,
            paths_of=clean_split(table),
        )

    @property
    def attacked(self) -> SplitRows:
        """The split whose attacks are measured: test where it has any, or else fit."""
        if self.test is not None and (self.test.attacked or self.test.harmless):
            return self.test
        return self.fit

    @property
    def attacked_origin(self) -> Origin:
        """How attacks are measured."""
        return Origin.CROSS_FITTED if self.attacked is self.fit else Origin.TEST

    @property
    def clean_origin(self) -> Origin:
        """How false alarms are measured."""
        if self.test is not None:
            return Origin.TEST
        seen = self.paths_of is SplitName.FIT  # path distributions were fitted on these very images
        return Origin.CROSS_CONFORMAL if seen else Origin.CROSS_FITTED

    @property
    def clean(self) -> MeasuredImages:
        """The clean images whose false alarms are counted."""
        if self.test is not None:
            return self.test.clean
        seen = self.clean_origin is Origin.CROSS_CONFORMAL
        return self.calibration if seen else self.fit.clean

    @property
    def negatives(self) -> MeasuredImages:
        """The clean images that attacked ones are compared with."""
        if self.test is not None:
            return self.test.others
        seen = self.clean_origin is Origin.CROSS_CONFORMAL
        return self.calibration if seen else self.fit.others

    def sources(self, folds: int) -> Sources:
        """Which images the figures are measured on.

        Args:
            folds: Number of folds, where images are judged in folds.
        """
        return Sources(
            clean=self.clean_origin,
            attacked=self.attacked_origin,
            clean_images=len(self.clean),
            negatives=len(self.negatives),
            calibration_images=len(self.calibration),
            folds=folds,
            paths_of=self.paths_of.value,
        )


def _labels(table: PathTable, split: SplitName, statistics: Statistics) -> list[str]:
    """What a table has of a split with the copies that are looked at."""
    wanted = set(statistics.copies)
    parts = [part for part in table.parts if part.split is split]
    return [part.attack for part in parts if wanted <= {*part.copies}]
