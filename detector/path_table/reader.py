"""Reads a path table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from detector.errors import DataError
from detector.path_table.info import (
    CLEAN,
    ORIGINAL,
    SCHEMA_VERSION,
    Part,
    SplitName,
    TableInfo,
)
from detector.path_table.places import Place, files_there
from detector.path_table.rows import CalibrationRows, CopiedRows, PathRows, rows_from_batch
from detector.path_table.shards import check_shard, read_shard, read_shard_info, shard_digest

__all__ = ["PathTable"]


class PathTable:
    """Reads a path table; memory is that of the rows asked for.

    Args:
        folder: What `offpath extract` wrote.

    Raises:
        DataError: If there is no path table.
    """

    def __init__(self, folder: Place) -> None:
        self.folder = folder
        self.info = TableInfo.read(folder)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What is in the table: splits under attacks."""
        return self.info.parts

    def part(self, split: SplitName, attack: str = CLEAN) -> Part:
        """One part of the table.

        Args:
            split: Which split.
            attack: Label of the attack, as ``pgd:8/255``, or ``clean``.

        Raises:
            DataError: If the table was not planned to have it.
        """
        for part in self.parts:
            if (part.split, part.attack) == (split, attack):
                return part
        held = ", ".join(f"{part.split} {part.attack}" for part in self.parts)
        raise DataError(
            f"{self.folder} should hold {split} images, {attack}. Found {held}. "
            "Run `offpath extract` for it into the same folder."
        )

    def shard_count(self, split: SplitName, attack: str = CLEAN) -> int:
        """Number of shards of one part.

        Args:
            split: Which split.
            attack: Label of the attack, or ``clean``.

        Raises:
            DataError: If the table was not planned to have it.
        """
        return sum(1 for _ in self.info.shards_of(self.part(split, attack)))

    def batches(
        self,
        split: SplitName,
        attack: str = CLEAN,
        *,
        shards: range | None = None,
        batch_size: int = 500,
    ) -> Iterator[PathRows]:
        """All images of one part, in order, a few at a time; none of their copies.

        Args:
            split: Which split.
            attack: Label of the attack, or ``clean``.
            shards: Which shards of it; all by default.
            batch_size: Largest number of rows of a batch.

        Raises:
            DataError: If the part is not there, unfinished, damaged or not of this table.
        """
        part = self.part(split, attack)
        for path, rows in self._shards(part, ORIGINAL, shards):
            yield from self._read(path, part, len(rows), batch_size)

    def with_copies(
        self,
        split: SplitName,
        attack: str = CLEAN,
        *,
        copies: Sequence[str] | None = None,
        shards: range | None = None,
        batch_size: int = 500,
    ) -> Iterator[CopiedRows]:
        """All images of one part beside their copies, in order, a few at a time.

        Args:
            split: Which split.
            attack: Label of the attack, or ``clean``.
            copies: Names of the copies; by default all that the part has.
            shards: Which shards of the part; all by default.
            batch_size: Largest number of images of a batch.

        Raises:
            DataError: If part or copies are not there, unfinished, damaged, not of this table, or
                copies of other images than those that it holds.
        """
        part = self.part(split, attack)
        names = tuple(dict.fromkeys(part.copies if copies is None else copies))
        unknown = [name for name in names if name not in part.copies]
        if unknown:
            raise DataError(
                f"{self.folder} should hold copies {', '.join(unknown)} of {split} images, "
                f"{attack}. Found {', '.join(part.copies) or 'none'}. "
                f"Run `offpath extract` for them into the same folder (--copy {unknown[0]})."
            )
        files = zip(*(self._shards(part, name, shards) for name in (ORIGINAL, *names)), strict=True)
        for side_by_side in files:
            yield from self._side_by_side(part, names, side_by_side, batch_size)

    def calibration(
        self, copies: Sequence[str] = (), *, shards: range | None = None
    ) -> Iterator[CalibrationRows]:
        """The clean rows of the calibration split beside some copies, a few at a time.

        Args:
            copies: Names of the copies.
            shards: Which shards; all by default.

        Raises:
            DataError: If they are not there, unfinished, damaged or not of this table.
        """
        for rows in self.with_copies(SplitName.CALIBRATION, copies=copies, shards=shards):
            yield CalibrationRows(rows)

    def digest(self) -> str:
        """SHA-256 that tells this table from others, as hex: of the names and bytes of its shards.

        Copies do not count: a table is the same after some were added to it.

        Raises:
            DataError: If a shard cannot be read.
        """
        digest = hashlib.sha256()
        names = [name for part in self.parts for name, _ in self.info.shards_of(part)]
        # A part that is planned but unfinished is none of calibrate's.
        for name in sorted(files_there(self.folder, names)):
            digest.update(f"{name} {shard_digest(self.folder / name)};".encode())
        return digest.hexdigest()

    def read(self, split: SplitName, attack: str = CLEAN) -> PathRows:
        """All rows of one part at once.

        Raises:
            DataError: If the part is not there, unfinished, damaged or not of this table.
        """
        return PathRows.concatenate(list(self.batches(split, attack)))

    def _shards(
        self, part: Part, copy: str, chosen: range | None = None
    ) -> list[tuple[Place, range]]:
        """Shards of a part, or of one copy of it, all by default; refused where one is missing."""
        shards = list(self.info.shards_of(part, copy))
        if chosen is not None:
            shards = shards[chosen.start : chosen.stop]
        there = len(files_there(self.folder, [name for name, _ in shards]))
        if there < len(shards):
            what = "" if copy == ORIGINAL else f", copied by {copy}"
            raise DataError(
                f"{self.folder} should hold {len(shards)} shards of {part.split} images, "
                f"{part.attack}{what}. Found {there}. Run the same `offpath extract` again; "
                "it continues where it stopped."
            )
        return [(self.folder / name, rows) for name, rows in shards]

    def _side_by_side(
        self,
        part: Part,
        names: tuple[str, ...],
        shards: tuple[tuple[Place, range], ...],
        batch_size: int,
    ) -> Iterator[CopiedRows]:
        """One shard of a part beside the same shard of each copy."""
        (path, rows), *others = shards
        digest = shard_digest(path) if names else None
        readers = [self._read(path, part, len(rows), batch_size)]
        for name, (copied, _) in zip(names, others, strict=True):
            readers.append(self._read(copied, part, len(rows), batch_size, name, digest))
        for original, *copies in zip(*readers, strict=True):
            yield CopiedRows(original=original, copies=dict(zip(names, copies, strict=True)))

    def _read(
        self,
        path: Place,
        part: Part,
        rows: int,
        batch_size: int,
        copy: str | None = None,
        original: str | None = None,
    ) -> Iterator[PathRows]:
        expected = {
            "schema_version": SCHEMA_VERSION,
            "network": self.info.network,
            "preprocessing": self.info.preprocessing.to_json(),
            "split": part.split.value,
            "attack": part.attack,
            "surrogate": part.surrogate,
            "rows": rows,
            "copy": copy,
            "original": original,
        }
        check_shard(path, read_shard_info(path), expected)
        for batch in read_shard(path, batch_size):
            yield rows_from_batch(batch, self.info.layout)
