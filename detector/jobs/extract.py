"""Extract: clean and attacked images of some splits to a path table. Stopped, it continues."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.attacks import AttackSpec, StrongestOf, TransferThrough, attackable, way_name
from detector.data import Splits
from detector.decoupling import DecoupledNetwork, DecoupledOutput
from detector.devices import exact_32_bit, usable_device
from detector.errors import DataError, InvalidInputError
from detector.fingerprints import network_digest
from detector.jobs.image_order import AnyImages, ImageOrder
from detector.jobs.progress import Progress
from detector.jobs.surrogate import Surrogate
from detector.path_table import (
    CLEAN,
    SCHEMA_VERSION,
    Part,
    PathRows,
    PathTable,
    SplitName,
    TableInfo,
    batch_from_rows,
    check_shard,
    read_shard_info,
    write_shard,
)

__all__ = ["ExtractOptions", "extract"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractOptions:
    """What to extract, and how.

    Args:
        output: Folder of the path table; what is there already is kept.
        splits: Which splits.
        attacks: What is done to their images, beside nothing at all; noise counts among them.
        limit: Number of images of each split that are there afterwards, or all by default. They
            are drawn in a fixed order, so that a larger limit adds to a smaller one's; only a last
            shard that was not full is made again. A smaller one takes nothing away.
        batch_size: Images that the network sees at once, positive.
        shard_size: Images of one file, positive; a stop loses at most so many.
        device: Where the network runs, as torch names it.
        seed: Seed of what is random in the attacks.

    Raises:
        InvalidInputError: If a number is out of range, an attack names a network that it goes
            through (which the job does itself), or the device cannot be used.
    """

    output: Path
    splits: tuple[SplitName, ...]
    attacks: tuple[AttackSpec, ...] = ()
    limit: int | None = None
    batch_size: int = 100
    shard_size: int = 500
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("limit", "batch_size", "shard_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInputError(f"{name} should be at least 1. Found {value}.", field=name)
        if not self.splits:
            raise InvalidInputError(
                "Splits to extract should be named. Found none.", field="splits"
            )
        if named := [spec.label for spec in self.attacks if spec.through]:
            raise InvalidInputError(
                "Attacks to make should be named without the network that they go through. "
                f"Found {named[0]}. Give that network's file instead (--attack-through).",
                field="attacks",
            )
        usable_device(self.device)


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
    Memory does not grow with the number of images.

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
            read, or a shard that is there was made from something else.
        StorageError: If a shard cannot be written; those before it are kept.
        AttackError: If an attack broke a property that it has to keep.
    """
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
    info = _plan(network, splits, options, sources, made_on)
    wanted = [part for part in info.parts if part.split in sources and part.attack in specs]
    strongest = strongest or StrongestOf()
    attacker = strongest if surrogate is None else surrogate.attacker(strongest)
    job = _Job(network, splits, options, info, attacker)
    todo = [
        (part, name, rows)
        for part in wanted
        for name, rows in info.shards_of(part)
        if rows.start < sources[part.split].asked
    ]
    missing = [shard for shard in todo if not job.is_there(*shard, sources[shard[0].split])]
    info.write(options.output)
    total = sum(len(rows) for _, _, rows in todo)
    done = total - sum(len(rows) for _, _, rows in missing)
    with Progress.shown("extract", total, done=done) as progress:
        for part, name, rows in missing:
            job.write(part, name, rows, sources[part.split], specs[part.attack], progress)
    return PathTable(options.output)


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

    def is_there(self, part: Part, name: str, rows: range, source: ImageOrder) -> bool:
        """Whether a shard was written before; a shard of something else is refused.

        One that was the last of a smaller table holds fewer rows and has to be made again.
        """
        path = self.options.output / name
        if not path.exists():
            return False
        found = read_shard_info(path)
        there = found.get("rows")
        held = rows[:there] if isinstance(there, int) and there > 0 else rows
        check_shard(path, found, self._facts(part, held, source))
        return held == rows

    def write(
        self,
        part: Part,
        name: str,
        rows: range,
        source: ImageOrder,
        spec: AttackSpec | None,
        progress: Progress,
    ) -> None:
        """Compute one shard, then write it."""
        facts = self._facts(part, rows, source)
        batches = []
        for start in range(rows.start, rows.stop, self.options.batch_size):
            chosen = source.order[start : min(start + self.options.batch_size, rows.stop)]
            found = self._observe(source.images, chosen, spec, seed=_seed(facts, start))
            batches.append(
                batch_from_rows(
                    found,
                    split=part.split,
                    attack=part.attack,
                    epsilon=spec.epsilon if spec else None,
                )
            )
            progress.advance(len(chosen), f"{part.split} {part.attack}")
        write_shard(self.options.output / name, pa.Table.from_batches(batches), facts)

    def _observe(
        self, images: AnyImages, rows: NDArray[np.int64], spec: AttackSpec | None, *, seed: int
    ) -> PathRows:
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
        device = torch.device(self.options.device)
        with attackable(self.network), torch.no_grad(), exact_32_bit(device):
            output: DecoupledOutput = self.network(self.preprocessing(pixels.to(device)))
        class_logits = output.class_logits.float().cpu()
        predictions = class_logits.argmax(dim=1)
        before = predictions if before is None else before
        return PathRows(
            image_ids=torch.from_numpy(images.ids[rows]),
            path=output.path.cpu(),
            class_logits=class_logits,
            labels=labels,
            original_predictions=before,
            predictions=predictions,
            success=(before == labels) & (predictions != labels),
            ways=ways,
        )

    def _facts(self, part: Part, rows: range, source: ImageOrder) -> dict[str, Any]:
        """What a shard is made from: two shards with the same facts hold the same rows."""
        chosen = source.order[rows.start : rows.stop]
        images = hashlib.sha256(source.images.ids[chosen].tobytes())
        images.update(source.images.labels[chosen].tobytes())
        return {
            "schema_version": SCHEMA_VERSION,
            "network": self.info.network,
            "preprocessing": self.info.preprocessing.to_json(),
            "split": part.split.value,
            "attack": part.attack,
            "surrogate": part.surrogate,
            "ways": [] if part.attack == CLEAN else [way_name(way) for way in self.attacker.ways],
            "rows": len(rows),
            "images": images.hexdigest(),
            "batch_size": self.options.batch_size,
            "seed": None if part.attack == CLEAN else self.options.seed,
        }


def _plan(
    network: DecoupledNetwork,
    splits: Splits,
    options: ExtractOptions,
    sources: dict[SplitName, ImageOrder],
    made_on: dict[str, str | None],
) -> TableInfo:
    """The table as it will be: what is in the folder already and what this run adds.

    The labels of this run come with the digest of the surrogate that their images are made on.
    """
    _check_classes(network, splits, options)
    added = {
        (split, label): Part(split=split, attack=label, rows=source.asked, surrogate=digest)
        for split, source in sources.items()
        for label, digest in made_on.items()
    }
    info = TableInfo(
        network=network_digest(network),
        preprocessing=splits.preprocessing,
        layout=network.layout,
        class_names=splits.class_names,
        shard_size=options.shard_size,
        parts=tuple(added.values()),
    )
    if not TableInfo.is_in(options.output):
        return info
    before = TableInfo.read(options.output)
    before.check_same_source(info, options.output)
    parts = {(part.split, part.attack): part for part in before.parts}
    for key, part in added.items():
        # A table never shrinks: its shards stay, and so does what it should hold.
        if key not in parts or parts[key].rows < part.rows:
            parts[key] = part
        elif parts[key].rows > len(sources[part.split].order):
            raise DataError(
                f"{options.output} should be a table of this data set, which has "
                f"{len(sources[part.split].order)} {part.split} images. Found a table of "
                f"{parts[key].rows}. Give another output folder."
            )
    return replace(info, parts=tuple(parts.values()))


def _check_classes(network: DecoupledNetwork, splits: Splits, options: ExtractOptions) -> None:
    side = splits.preprocessing
    blank = torch.zeros(1, 3, side.height, side.width, device=options.device)
    with attackable(network), torch.no_grad():
        output: DecoupledOutput = network(blank)
    classes = output.class_logits.shape[1]
    if classes != len(splits.class_names):
        raise DataError(
            f"The data set should have {classes} classes, as many as the network. "
            f"Found {len(splits.class_names)}. Give the data set that the network was trained on."
        )


def _seed(facts: dict[str, Any], start: int) -> int:
    """A seed that depends on what is attacked and how alone, not on what ran before."""
    text = json.dumps([facts["seed"], facts["split"], facts["attack"], start])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
