"""Reads a path table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from detector.errors import DataError
from detector.path_table.info import CLEAN, SCHEMA_VERSION, Part, SplitName, TableInfo
from detector.path_table.rows import CalibrationRows, PathRows, rows_from_batch
from detector.path_table.shards import check_shard, read_shard, read_shard_info

__all__ = ["PathTable"]


class PathTable:
    """Reads a path table; memory is that of the rows asked for.

    Args:
        folder: Folder that `offpath extract` wrote.

    Raises:
        DataError: If there is no path table.
    """

    def __init__(self, folder: Path) -> None:
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

    def batches(
        self, split: SplitName, attack: str = CLEAN, *, batch_size: int = 500
    ) -> Iterator[PathRows]:
        """All rows of one part, in order, a few at a time.

        Args:
            split: Which split.
            attack: Label of the attack, or ``clean``.
            batch_size: Largest number of rows of a batch.

        Raises:
            DataError: If the part is not there, unfinished, damaged or not of this table.
        """
        part = self.part(split, attack)
        shards = [(self.folder / name, rows) for name, rows in self.info.shards_of(part)]
        missing = [path.name for path, _ in shards if not path.is_file()]
        if missing:
            raise DataError(
                f"{self.folder} should hold {len(shards)} shards of {split} images, {attack}. "
                f"Found {len(shards) - len(missing)}. Run the same `offpath extract` again; "
                "it continues where it stopped."
            )
        for path, rows in shards:
            yield from self._read(path, part, len(rows), batch_size)

    def calibration(self) -> Iterator[CalibrationRows]:
        """The clean rows of the calibration split, a few at a time.

        Raises:
            DataError: If they are not there, unfinished, damaged or not of this table.
        """
        for rows in self.batches(SplitName.CALIBRATION):
            yield CalibrationRows(rows)

    def digest(self) -> str:
        """SHA-256 that tells this table from others, as hex: of the names and bytes of its shards.

        Raises:
            DataError: If a shard cannot be read.
        """
        digest = hashlib.sha256()
        names = [name for part in self.parts for name, _ in self.info.shards_of(part)]
        for name in sorted(names):
            path = self.folder / name
            if path.is_file():  # a part that is planned but unfinished is none of calibrate's
                digest.update(f"{name} {_digest(path)};".encode())
        return digest.hexdigest()

    def read(self, split: SplitName, attack: str = CLEAN) -> PathRows:
        """All rows of one part at once.

        Raises:
            DataError: If the part is not there, unfinished, damaged or not of this table.
        """
        return PathRows.concatenate(list(self.batches(split, attack)))

    def _read(self, path: Path, part: Part, rows: int, batch_size: int) -> Iterator[PathRows]:
        expected = {
            "schema_version": SCHEMA_VERSION,
            "network": self.info.network,
            "preprocessing": self.info.preprocessing.to_json(),
            "split": part.split.value,
            "attack": part.attack,
            "surrogate": part.surrogate,
            "rows": rows,
        }
        check_shard(path, read_shard_info(path), expected)
        for batch in read_shard(path, batch_size):
            yield rows_from_batch(batch, self.info.layout)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"{path} should be a readable shard. Found: {error.strerror or error}. "
            "Delete it and run the same `offpath extract` again."
        ) from error
