"""What fusions are fitted on: statistics of clean, noisy and attacked fit images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor

from detector.attacks import AttackSpec
from detector.errors import CalibrationError
from detector.jobs.engines import Engine, LocalEngine, Report
from detector.path_table import CLEAN, PathTable, Place, SplitName
from detector.scoring import Statistics

__all__ = ["FitRows", "Kind", "kind_of", "read_fit_rows"]


class Kind(Enum):
    """What was done to the images of a part; corruptions count as noise."""

    CLEAN = "clean"
    NOISE = "noise"
    ATTACK = "attack"


@dataclass(frozen=True, kw_only=True, slots=True)
class FitRows:
    """Statistics of the fit images under everything that was done to them.

    Args:
        statistics: Float of shape (N, S).
        image_ids: Which image each row is of, int64 of shape (N,).
        parts: Index of what was done to it, int64 of shape (N,).
        labels: Each part's label, as ``pgd:8/255`` or ``clean``.
        kinds: Each part's kind.
    """

    statistics: Tensor
    image_ids: Tensor
    parts: Tensor
    labels: tuple[str, ...]
    kinds: tuple[Kind, ...]

    @property
    def attacked(self) -> Tensor:
        """True for the rows that the classifier should recognise, bool of shape (N,)."""
        return self.are(Kind.ATTACK)

    @property
    def weights(self) -> Tensor:
        """How much each row counts, with mean 1, shape (N,).

        Clean and noisy images together count as much as all attacks do, the clean ones at least
        half of that, and each attack as much as any other, however often it succeeded.
        """
        share = {Kind.CLEAN: 1.0, Kind.NOISE: 1.0, Kind.ATTACK: 1.0}
        if Kind.NOISE in self.kinds:
            share |= {Kind.CLEAN: 0.5, Kind.NOISE: 0.5}
        counts = torch.bincount(self.parts, minlength=len(self.labels)).to(torch.float64)
        present = {kind: self._present(kind, counts) for kind in Kind}
        per_part = torch.tensor(
            [share[kind] / max(present[kind], 1) for kind in self.kinds], dtype=torch.float64
        )
        weights = (per_part / counts.clamp(min=1))[self.parts]
        return weights / weights.mean()

    def __getitem__(self, rows: Tensor) -> FitRows:
        """Some of the rows, by a mask."""
        return FitRows(
            statistics=self.statistics[rows],
            image_ids=self.image_ids[rows],
            parts=self.parts[rows],
            labels=self.labels,
            kinds=self.kinds,
        )

    def columns(self, chosen: Tensor) -> FitRows:
        """The same rows with some of the statistics, by their indices."""
        return replace(self, statistics=self.statistics[:, chosen])

    @property
    def images_by_part(self) -> dict[str, int]:
        """Number of rows of each part, by its label."""
        counts = torch.bincount(self.parts, minlength=len(self.labels)).tolist()
        return dict(zip(self.labels, counts, strict=True))

    def require_attacks(self) -> None:
        """Refuse rows that teach nothing about attacks.

        Raises:
            CalibrationError: If no attack on fit images is there, or none succeeded.
        """
        if not bool(self.attacked.any()):
            raise CalibrationError(
                "The path table should hold attacks on fit images that succeeded, with the same "
                f"copies as clean ones. Found {', '.join(self.labels)}, and no such success. "
                "Run `offpath extract` for the fit split with attacks such as pgd:8/255."
            )

    def teaches(self, *, attacks: bool) -> bool:
        """Whether a fusion can be fitted on these rows.

        Args:
            attacks: Whether attacked images are needed beside others.
        """
        if attacks:
            return 0 < int(self.attacked.sum()) < len(self.parts)
        return bool(self.are(Kind.CLEAN).any())

    def are(self, kind: Kind) -> Tensor:
        """Which rows are of one kind, bool of shape (N,)."""
        return torch.tensor([found is kind for found in self.kinds])[self.parts]

    def of(self, part: int) -> Tensor:
        """Which rows are of one part, bool of shape (N,)."""
        return self.parts == part

    def _present(self, kind: Kind, counts: Tensor) -> int:
        return sum(
            found is kind and count > 0
            for found, count in zip(self.kinds, counts.tolist(), strict=True)
        )


def read_fit_rows(
    table: PathTable, statistics: Statistics, engine: Engine | None = None
) -> FitRows:
    """Statistics of all fit rows of a table; of attacked images only those that succeeded.

    Args:
        table: The path table; parts without the copies that are looked at are left out.
        statistics: Fitted scores.
        engine: Where they are computed; here by default.

    Raises:
        DataError: If the table cannot be read, or has no clean fit images with these copies.
    """
    parts = [part for part in table.parts if part.split is SplitName.FIT]
    wanted = set(statistics.copies)
    labels = [part.attack for part in parts if part.attack == CLEAN or wanted <= {*part.copies}]
    kinds = [kind_of(label) for label in labels]
    pieces = [
        _Piece(label=label, kind=kind, shard=shard)
        for label, kind in zip(labels, kinds, strict=True)
        for shard in range(table.shard_count(SplitName.FIT, label))
    ]
    work = _Measuring(table=table.folder, statistics=statistics)
    found = list((engine or LocalEngine()).in_order(work, pieces))
    sizes = torch.zeros(len(labels), dtype=torch.int64)
    for piece, (_, ids) in zip(pieces, found, strict=True):
        sizes[labels.index(piece.label)] += len(ids)
    return FitRows(
        statistics=torch.cat([values for values, _ in found]),
        image_ids=torch.cat([ids for _, ids in found]),
        parts=torch.repeat_interleave(torch.arange(len(labels)), sizes),
        labels=tuple(labels),
        kinds=tuple(kinds),
    )


def kind_of(label: str) -> Kind:
    """What was done to the images of a part.

    Args:
        label: Label of an attack, noise or corruption, or ``clean``.
    """
    if label == CLEAN:
        return Kind.CLEAN
    return Kind.NOISE if AttackSpec.parse(label).build().is_benign else Kind.ATTACK


@dataclass(frozen=True, kw_only=True, slots=True)
class _Piece:
    """One shard of one part."""

    label: str
    kind: Kind
    shard: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Measuring:
    """Measures fit images of one shard: statistics and image ids of those that count."""

    table: Place
    statistics: Statistics

    @torch.inference_mode()
    def __call__(self, piece: _Piece, _report: Report, /) -> tuple[Tensor, Tensor]:
        values = [torch.empty(0, len(self.statistics.names))]
        ids = [torch.empty(0, dtype=torch.int64)]
        for rows in PathTable(self.table).with_copies(
            SplitName.FIT,
            piece.label,
            copies=self.statistics.copies,
            shards=range(piece.shard, piece.shard + 1),
        ):
            original = rows.original
            everyone = torch.ones(len(rows), dtype=torch.bool)
            kept = original.success if piece.kind is Kind.ATTACK else everyone
            values.append(self.statistics(rows.seen)[kept])
            ids.append(original.image_ids[kept])
        return torch.cat(values), torch.cat(ids)
