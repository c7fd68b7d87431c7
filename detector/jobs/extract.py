"""Extract: clean and attacked images of some splits to a path table. Stopped, it continues."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.attacks import AttackSpec, StrongestOf, TransferThrough, attackable, way_name
from detector.copies import parse_copy
from detector.data import Splits
from detector.decoupling import DecoupledNetwork, DecoupledOutput
from detector.devices import exact_32_bit
from detector.errors import DataError
from detector.jobs.extract_options import ExtractOptions
from detector.jobs.extract_plan import planned_table
from detector.jobs.image_order import AnyImages, ImageOrder
from detector.jobs.progress import Progress
from detector.jobs.surrogate import Surrogate
from detector.path_table import (
    CLEAN,
    ORIGINAL,
    SCHEMA_VERSION,
    Part,
    PathRows,
    PathTable,
    TableInfo,
    batch_from_rows,
    check_shard,
    read_shard,
    read_shard_info,
    rows_from_batch,
    shard_digest,
    write_shard,
)
from detector.paths import PathVectors
from detector.storage import sole_writer

__all__ = ["ExtractOptions", "extract"]

_ROUNDING = 1e-3
"""Class logits that differ by less, absolutely or relatively, are those of the same image."""


def extract(
    network: DecoupledNetwork,
    splits: Splits,
    options: ExtractOptions,
    *,
    strongest: StrongestOf | None = None,
    surrogate: Surrogate | None = None,
) -> PathTable:
    """Write what the network does with clean and attacked images, shard by shard.

    Shards that are there already are checked and skipped. Each shard depends on nothing but its
    own images and the seed, so that a run that was stopped and continued writes the same bytes.
    Memory does not grow with the number of images; it holds one shard and its copies.

    Attacked images are not kept: copies that are added to a table later cost the attack once more,
    and only if it gives the images again that the table is about are their copies put beside them.

    Args:
        network: The network, in any mode; it is left as it came, on the device of the options.
        splits: The data set, with its preprocessing.
        options: What to extract, and how.
        strongest: How attacks pass the gates; by default the strongest of the three ways.
        surrogate: Another network on which the attack images are made; the network itself by
            default. The table names it in the label of each attack of this run.

    Returns:
        The table.

    Raises:
        InvalidInputError: If there is a surrogate and no attack.
        DataError: If the network, the surrogate and the data set do not fit, an image cannot be
            read, a shard that is there was made from something else, or its attacked images cannot
            be made again for copies of them.
        StorageError: If a shard cannot be written, those before it are kept; or if another job
            writes to the same table.
        AttackError: If an attack broke a property that it has to keep.
    """
    with sole_writer(options.output):
        return _extracted(network, splits, options, strongest, surrogate)


def _extracted(
    network: DecoupledNetwork,
    splits: Splits,
    options: ExtractOptions,
    strongest: StrongestOf | None,
    surrogate: Surrogate | None,
) -> PathTable:
    network.to(options.device)
    attacks = options.attacks
    if surrogate is not None:
        surrogate.check_fits(network, splits)
        surrogate.network.to(options.device)
        attacks = surrogate.named_in(attacks)
    specs: dict[str, AttackSpec | None] = {CLEAN: None}
    specs.update({spec.label: spec for spec in attacks})
    sources = {name: ImageOrder.of(splits, name, options.limit) for name in options.splits}
    through = surrogate.digest if surrogate else None
    made_on = {label: through if spec else None for label, spec in specs.items()}
    info = planned_table(network, splits, options, sources, made_on)
    wanted = [part for part in info.parts if part.split in sources and part.attack in specs]
    strongest = strongest or StrongestOf()
    attacker = strongest if surrogate is None else surrogate.attacker(strongest)
    job = _Job(network, splits, options, info, attacker)
    todo = [
        shard
        for part in wanted
        for shard in job.shards_of(part, sources[part.split])
        if shard.rows.start < sources[part.split].asked
    ]
    missing = [(shard, names) for shard in todo if (names := job.missing(shard))]
    info.write(options.output)
    total = sum(len(shard.rows) for shard in todo)
    done = total - sum(len(shard.rows) for shard, _ in missing)
    with Progress.shown("extract", total, done=done) as progress:
        for shard, names in missing:
            job.write(shard, names, specs[shard.part.attack], progress)
    return PathTable(options.output)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shard:
    """Some images of one part, and where their rows and those of each copy lie.

    Args:
        part: Which part.
        source: The images of its split.
        rows: Which of them.
        files: File of the images themselves first, then of each copy, by its name.
    """

    part: Part
    source: ImageOrder
    rows: range
    files: dict[str, Path]


class _Job:
    """Makes shards of one table."""

    def __init__(
        self,
        network: DecoupledNetwork,
        splits: Splits,
        options: ExtractOptions,
        info: TableInfo,
        attacker: StrongestOf | TransferThrough,
    ) -> None:
        self.network = network
        self.preprocessing = splits.preprocessing
        self.options = options
        self.info = info
        self.attacker = attacker
        self.copies = {name: parse_copy(name) for part in info.parts for name in part.copies}

    def shards_of(self, part: Part, source: ImageOrder) -> Iterator[_Shard]:
        """The shards of one part, each with its copies."""
        names = (ORIGINAL, *part.copies)
        for files in zip(*(self.info.shards_of(part, name) for name in names), strict=True):
            paths = {
                name: self.options.output / file
                for name, (file, _) in zip(names, files, strict=True)
            }
            yield _Shard(part=part, source=source, rows=files[0][1], files=paths)

    def missing(self, shard: _Shard) -> tuple[str, ...]:
        """Which files of a shard have to be made: of all or of copies; empty where it is whole.

        Copies go with the very bytes of the original's file: where that is made again, so are they.
        """
        there = [name for name in shard.files if self._is_there(shard, name)]
        if ORIGINAL not in there:
            return tuple(shard.files)
        copies = [name for name in there if name != ORIGINAL]
        digest = shard_digest(shard.files[ORIGINAL]) if copies else ""
        fresh = [n for n in copies if read_shard_info(shard.files[n])["original"] == digest]
        return tuple(name for name in shard.files if name not in {ORIGINAL, *fresh})

    def _is_there(self, shard: _Shard, name: str) -> bool:
        """Whether a file was written before; one of something else is refused.

        One that was the last of a smaller table holds fewer rows and has to be made again.
        """
        path = shard.files[name]
        if not path.exists():
            return False
        found = read_shard_info(path)
        there = found.get("rows")
        rows = shard.rows
        held = rows[:there] if isinstance(there, int) and there > 0 else rows
        copy = None if name == ORIGINAL else name
        check_shard(path, found, {**self._facts(shard, held), "copy": copy})
        return held == rows

    def write(
        self, shard: _Shard, names: tuple[str, ...], spec: AttackSpec | None, progress: Progress
    ) -> None:
        """Compute the named files of one shard, then write them, the original's first."""
        part, rows, path = shard.part, shard.rows, shard.files[ORIGINAL]
        facts = self._facts(shard, rows)
        batches: dict[str, list[pa.RecordBatch]] = {name: [] for name in names}
        kept = None if ORIGINAL in names else read_shard(path, self.options.batch_size)
        for start in range(rows.start, rows.stop, self.options.batch_size):
            chosen = shard.source.order[start : min(start + self.options.batch_size, rows.stop)]
            pixels, found = self._observe(
                shard.source.images, chosen, spec, seed=_seed(facts, start)
            )
            if kept is not None:
                _check_same_images(path, found, rows_from_batch(next(kept), self.info.layout))
            for name, of_name in batches.items():
                of_name.append(
                    batch_from_rows(
                        found if name == ORIGINAL else self._copied(name, pixels, found),
                        split=part.split,
                        attack=part.attack,
                        epsilon=spec.epsilon if spec else None,
                        copy=name,
                    )
                )
            progress.advance(len(chosen), f"{part.split} {part.attack}")
        for name, of_name in batches.items():
            more = {} if name == ORIGINAL else {"copy": name, "original": shard_digest(path)}
            write_shard(shard.files[name], pa.Table.from_batches(of_name), {**facts, **more})

    def _observe(
        self, images: AnyImages, rows: NDArray[np.int64], spec: AttackSpec | None, *, seed: int
    ) -> tuple[Tensor, PathRows]:
        """Images as they come to the network, uint8 on the CPU, and what it does with them."""
        pixels = images.read(rows.tolist(), self.preprocessing)
        labels = torch.from_numpy(images.labels[rows])
        before: Tensor | None = None
        ways = ("",) * len(rows)
        if spec is not None:
            attacked = self.attacker(
                self.network, self.preprocessing, pixels, labels, spec.build(), seed=seed
            )
            pixels, before = attacked.images, attacked.original_prediction
            ways = tuple(attacked.ways[way] for way in attacked.way.tolist())
        class_logits, path = self._look(pixels)
        predictions = class_logits.argmax(dim=1)
        before = predictions if before is None else before
        return pixels, PathRows(
            image_ids=torch.from_numpy(images.ids[rows]),
            path=path,
            class_logits=class_logits,
            labels=labels,
            original_predictions=before,
            predictions=predictions,
            success=(before == labels) & (predictions != labels),
            ways=ways,
        )

    def _copied(self, name: str, pixels: Tensor, original: PathRows) -> PathRows:
        """Rows of one copy of images."""
        # On the CPU whatever the device is: the same copies on every machine.
        class_logits, path = self._look(self.copies[name](pixels))
        return replace(
            original,
            path=path,
            class_logits=class_logits,
            predictions=class_logits.argmax(dim=1),
        )

    def _look(self, pixels: Tensor) -> tuple[Tensor, PathVectors]:
        """Class logits and paths of uint8 images, on the CPU."""
        device = torch.device(self.options.device)
        with attackable(self.network), torch.no_grad(), exact_32_bit(device):
            output: DecoupledOutput = self.network(self.preprocessing(pixels.to(device)))
        return output.class_logits.float().cpu(), output.path.cpu()

    def _facts(self, shard: _Shard, rows: range) -> dict[str, Any]:
        """What a shard is made from: two shards with the same facts hold the same rows."""
        part, images = shard.part, shard.source.images
        chosen = shard.source.order[rows.start : rows.stop]
        digest = hashlib.sha256(images.ids[chosen].tobytes())
        digest.update(images.labels[chosen].tobytes())
        return {
            "schema_version": SCHEMA_VERSION,
            "network": self.info.network,
            "preprocessing": self.info.preprocessing.to_json(),
            "split": part.split.value,
            "attack": part.attack,
            "surrogate": part.surrogate,
            "ways": [] if part.attack == CLEAN else [way_name(way) for way in self.attacker.ways],
            "rows": len(rows),
            "images": digest.hexdigest(),
            "batch_size": self.options.batch_size,
            "seed": None if part.attack == CLEAN else self.options.seed,
        }


def _check_same_images(path: Path, found: PathRows, kept: PathRows) -> None:
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
