"""The unit of extraction: some images of one part, with their copies, from pixels to files."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch

from detector.attacks import AttackSpec, way_name
from detector.errors import DataError
from detector.jobs.engines import Report
from detector.jobs.image_order import ImageOrder
from detector.jobs.observer import Observer
from detector.path_table import (
    CLEAN,
    ORIGINAL,
    SCHEMA_VERSION,
    Part,
    PathRows,
    Place,
    SplitName,
    TableInfo,
    batch_from_rows,
    check_shard,
    read_shard,
    read_shard_info,
    rows_from_batch,
    shard_digest,
    write_shard,
)

__all__ = ["Shard", "ShardWork", "Unfinished"]

_ROUNDING = 1e-3
"""Class logits that differ by less, absolutely or relatively, are those of the same image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Some images of one part, and where their rows and those of each copy lie.

    Args:
        part: Which part.
        rows: Which of its images.
        files: File of the images themselves first, then of each copy, by its name.
    """

    part: Part
    rows: range
    files: Mapping[str, Place]


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinished:
    """A shard with files that have to be made.

    Args:
        shard: Which shard.
        names: Which files of it: all, or those of copies.
    """

    shard: Shard
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardWork:
    """Makes shards of one table; each depends on its own images and the seed alone.

    Args:
        observer: Shows images to the network.
        info: What the table should hold.
        folder: Where the table lies.
        sources: The images of each split.
        specs: By its label what is done to images; None for nothing at all.
        batch_size: Images that the network sees at once.
        seed: Seed of what is random in the attacks.
    """

    observer: Observer
    info: TableInfo
    folder: Place
    sources: Mapping[SplitName, ImageOrder]
    specs: Mapping[str, AttackSpec | None]
    batch_size: int
    seed: int

    def shards(self) -> Iterator[Shard]:
        """The shards of the images that were asked for."""
        for part in self.info.parts:
            if part.split in self.sources and part.attack in self.specs:
                asked = self.sources[part.split].asked
                yield from (each for each in self._shards_of(part) if each.rows.start < asked)

    def unfinished(self, shard: Shard, files: Collection[str]) -> Unfinished | None:
        """What has to be made of a shard; None where it is whole.

        Copies go with the very bytes of the original's file: where that is made again, so are they.

        Args:
            shard: Which shard.
            files: Names of the files that are there.

        Raises:
            DataError: If a file that is there is damaged or was made from something else.
        """
        there = [
            name
            for name, file in shard.files.items()
            if file.name in files and self._is_whole(shard, name)
        ]
        if ORIGINAL not in there:
            return Unfinished(shard=shard, names=tuple(shard.files))
        copies = [name for name in there if name != ORIGINAL]
        digest = shard_digest(shard.files[ORIGINAL]) if copies else ""
        fresh = [n for n in copies if read_shard_info(shard.files[n])["original"] == digest]
        names = tuple(name for name in shard.files if name not in {ORIGINAL, *fresh})
        return Unfinished(shard=shard, names=names) if names else None

    def __call__(self, piece: Unfinished, report: Report) -> None:
        """Compute what a shard lacks, then write it, the original's file first.

        Args:
            piece: What.
            report: Told after each batch of images.

        Raises:
            DataError: If this machine does not see the table's folder, an image cannot be read, or
                attacked images cannot be made again for copies of them.
            StorageError: If a file cannot be written.
            AttackError: If an attack broke a property that it has to keep.
        """
        self._require_shared_folder()
        self.observer.settle()
        batches: dict[str, list[pa.RecordBatch]] = {name: [] for name in piece.names}
        for start, of_names in self._batches(piece):
            for name, batch in of_names.items():
                batches[name].append(batch)
            part = piece.shard.part
            images = min(start + self.batch_size, piece.shard.rows.stop) - start
            report(images, f"{part.split} {part.attack}")
        self._write(piece.shard, batches)

    def _shards_of(self, part: Part) -> Iterator[Shard]:
        names = (ORIGINAL, *part.copies)
        for files in zip(*(self.info.shards_of(part, name) for name in names), strict=True):
            paths = {name: self.folder / file for name, (file, _) in zip(names, files, strict=True)}
            yield Shard(part=part, rows=files[0][1], files=paths)

    def _is_whole(self, shard: Shard, name: str) -> bool:
        """Whether a file that is there has all rows; one of something else is refused.

        One that was the last of a smaller table holds fewer rows and has to be made again.
        """
        path = shard.files[name]
        found = read_shard_info(path)
        there = found.get("rows")
        rows = shard.rows
        held = rows[:there] if isinstance(there, int) and there > 0 else rows
        copy = None if name == ORIGINAL else name
        check_shard(path, found, {**self._facts(shard, held), "copy": copy})
        return held == rows

    def _require_shared_folder(self) -> None:
        if not TableInfo.is_in(self.folder):
            raise DataError(
                f"{self.folder} should be one folder for all machines of the cluster. Found none "
                f"of this table on {socket.gethostname()}. Mount a shared one at the same place on "
                "each machine, or give an address of object storage that all of them reach."
            )

    def _batches(self, piece: Unfinished) -> Iterator[tuple[int, dict[str, pa.RecordBatch]]]:
        """The rows of each file, a few images at a time, with the first image's place."""
        shard, names = piece.shard, piece.names
        part, rows, path = shard.part, shard.rows, shard.files[ORIGINAL]
        source, spec = self.sources[part.split], self.specs[part.attack]
        facts = self._facts(shard, rows)
        kept = None if ORIGINAL in names else read_shard(path, self.batch_size)
        for start in range(rows.start, rows.stop, self.batch_size):
            chosen = source.order[start : min(start + self.batch_size, rows.stop)]
            pixels, found = self.observer.observe(
                source.images, chosen, spec, seed=_seed(facts, start)
            )
            if kept is not None:
                _check_same_images(path, found, rows_from_batch(next(kept), self.info.layout))
            yield (
                start,
                {
                    name: batch_from_rows(
                        found if name == ORIGINAL else self.observer.copied(name, pixels, found),
                        split=part.split,
                        attack=part.attack,
                        epsilon=spec.epsilon if spec else None,
                        copy=name,
                    )
                    for name in names
                },
            )

    def _write(self, shard: Shard, batches: Mapping[str, list[pa.RecordBatch]]) -> None:
        facts = self._facts(shard, shard.rows)
        for name, of_name in batches.items():
            original = shard_digest(shard.files[ORIGINAL]) if name != ORIGINAL else ""
            more = {} if name == ORIGINAL else {"copy": name, "original": original}
            write_shard(shard.files[name], pa.Table.from_batches(of_name), {**facts, **more})

    def _facts(self, shard: Shard, rows: range) -> dict[str, Any]:
        """What a shard is made from: two shards with the same facts hold the same rows."""
        part, source = shard.part, self.sources[shard.part.split]
        images, chosen = source.images, source.order[rows.start : rows.stop]
        digest = hashlib.sha256(images.ids[chosen].tobytes())
        digest.update(images.labels[chosen].tobytes())
        return {
            "schema_version": SCHEMA_VERSION,
            "network": self.info.network,
            "preprocessing": self.info.preprocessing.to_json(),
            "split": part.split.value,
            "attack": part.attack,
            "surrogate": part.surrogate,
            "ways": []
            if part.attack == CLEAN
            else [way_name(way) for way in self.observer.attacker.ways],
            "rows": len(rows),
            "images": digest.hexdigest(),
            "batch_size": self.batch_size,
            "seed": None if part.attack == CLEAN else self.seed,
        }


def _check_same_images(path: Place, found: PathRows, kept: PathRows) -> None:
    """Refuse to put copies beside images that they are no copies of.

    Attacks on another machine, or on a GPU, can end elsewhere. The images are not kept, but images
    that the network sees alike to within rounding are alike for all that a table tells.
    """
    same = torch.equal(found.predictions, kept.predictions) and torch.allclose(
        found.class_logits, kept.class_logits, rtol=_ROUNDING, atol=_ROUNDING
    )
    if not same:
        raise DataError(
            f"{path} should be about the images that this run makes, to have copies of them beside "
            "it. Found other paths: the attack ended elsewhere, as it can on another machine. "
            "Delete that shard, which is then made again with its copies, or give another output "
            "folder."
        )


def _seed(facts: dict[str, Any], start: int) -> int:
    """A seed that depends on what is attacked and how alone, not on what ran before."""
    text = json.dumps([facts["seed"], facts["split"], facts["attack"], start])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
