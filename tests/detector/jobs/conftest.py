"""A tiny data set with its splits, a tiny decoupled network, and tables of synthetic paths."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from deploy.watch.debian import MissingProgramError
from detector.attacks import AttackSpec
from detector.data import ArraySource, Splits
from detector.decoupling import DecoupledNetwork
from detector.decoupling.backbones import CifarResNet
from detector.fingerprints import network_digest
from detector.jobs.engines import Engine
from detector.jobs.extract import ExtractOptions
from detector.path_table import (
    CLEAN,
    ORIGINAL,
    SCHEMA_VERSION,
    Part,
    PathRows,
    SplitName,
    TableInfo,
    batch_from_rows,
    shard_digest,
    write_shard,
)
from detector.preprocessing import Preprocessing
from tests.browser import Browser
from tests.missing import program_missing

CLASSES = ("a", "b", "c", "d")

PARTS = {
    (SplitName.TRAIN, CLEAN): 300,
    (SplitName.FIT, CLEAN): 120,
    (SplitName.FIT, "noise-sign:8/255"): 120,
    (SplitName.FIT, "fgsm:8/255"): 120,
    (SplitName.FIT, "pgd:8/255"): 120,
    (SplitName.CALIBRATION, CLEAN): 200,
}
STRANGENESS = {CLEAN: 0.0, "noise-sign:8/255": 0.1, "fgsm:8/255": 1.0, "pgd:8/255": 2.0}


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """A browser that looks at pages, as Debian packs it."""
    try:
        return Browser.fetched(tmp_path_factory.mktemp("browser"))
    except MissingProgramError as error:
        program_missing(str(error))


@pytest.fixture
def tiny_splits() -> Splits:
    generator = np.random.default_rng(0)
    train, test = (
        ArraySource(
            generator.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8),
            np.arange(count) % len(CLASSES),
            CLASSES,
        )
        for count in (40, 50)
    )
    preprocessing = Preprocessing(
        height=8, width=8, shorter_side=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )
    return Splits.divide(train, test, preprocessing=preprocessing)


@pytest.fixture
def tiny_network() -> DecoupledNetwork:
    torch.manual_seed(0)
    return DecoupledNetwork(CifarResNet(1, len(CLASSES), widths=(8, 8, 8))).eval()


@pytest.fixture
def options() -> Callable[..., ExtractOptions]:
    """Options of a small extraction into a folder, with changes."""
    attacks = (AttackSpec.parse("pgd:8/255,steps=2"),)

    def make(folder: Path, **changes: object) -> ExtractOptions:
        standard = ExtractOptions(
            output=folder, splits=(SplitName.TEST,), attacks=attacks, batch_size=8, shard_size=20
        )
        return dataclasses.replace(standard, **changes)

    return make


class Elsewhere(Engine):
    """Every piece in reverse order, each with a copy of the work that knows nothing of the last."""

    @override
    def _completed(self, work, pieces, report):
        sent = pickle.dumps(work)
        for index in reversed(range(len(pieces))):
            yield index, pickle.loads(sent)(pickle.loads(pickle.dumps(pieces[index])), report)


@pytest.fixture
def engine_elsewhere() -> Engine:
    """An engine as far away as one process can be."""
    return Elsewhere()


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Name and bytes of each file in a folder."""
    return lambda folder: {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def make_table(make_paths, resnet20, network_info) -> Callable[..., Path]:
    """A table of synthetic paths of three classes.

    Attacked paths are stranger, and under a copy the network predicts the true class again.
    """
    layout, classes = resnet20.layout, len(network_info.class_names)

    def rows_of(
        part: Part, predictions: Tensor, *, seed: int, copy: str, disturbed: bool
    ) -> PathRows:
        attacked = not (part.attack == CLEAN or part.attack.startswith("noise"))
        labels = (predictions + attacked) % classes
        shown = labels if copy != ORIGINAL else predictions
        if disturbed:
            shown = (predictions + torch.arange(part.rows) % 2) % classes
        generator = torch.Generator().manual_seed(100 + seed)
        noise = torch.randn(part.rows, classes, generator=generator)
        strangeness = STRANGENESS.get(part.attack, 1.0)
        return PathRows(
            image_ids=torch.arange(part.rows),
            path=make_paths(predictions, layout, seed=seed, strangeness=strangeness),
            class_logits=noise.clamp(-2, 2) + 5 * functional.one_hot(shown, classes),
            labels=labels,
            original_predictions=labels,
            predictions=shown,
            success=torch.full((part.rows,), attacked) & (torch.arange(part.rows) % 10 > 0),
            ways=("",) * part.rows,
        )

    def make(
        folder: Path,
        *,
        leave_out: tuple = (),
        calibration: Tensor | None = None,
        more: dict | None = None,
        copies: tuple[str, ...] = (),
        uncopied: tuple = (),
        disturbed: tuple[str, ...] = (),
        shard_size: int = 500,
    ) -> Path:
        """Parts as in `PARTS`, less some and with others.

        The fit and calibration splits have copies, but for the parts that are `uncopied`; those
        that are `disturbed` change the class of every other image.
        """
        counts = {part: n for part, n in PARTS.items() if part not in leave_out} | (more or {})
        if calibration is not None:
            counts[SplitName.CALIBRATION, CLEAN] = len(calibration)
        parts = tuple(
            Part(
                split=split,
                attack=attack,
                rows=rows,
                copies=()
                if split is SplitName.TRAIN or (split, attack) in uncopied
                else (*copies, *disturbed),
            )
            for (split, attack), rows in counts.items()
        )
        info = TableInfo(
            network=network_digest(resnet20),
            preprocessing=network_info.preprocessing,
            layout=layout,
            class_names=network_info.class_names,
            shard_size=shard_size,
            parts=parts,
        )
        info.write(folder)
        for index, part in enumerate(parts):
            predictions = torch.arange(part.rows) % classes
            if part.split is SplitName.CALIBRATION and calibration is not None:
                predictions = calibration
            facts = {
                "schema_version": SCHEMA_VERSION,
                "network": info.network,
                "preprocessing": info.preprocessing.to_json(),
                "split": part.split.value,
                "attack": part.attack,
                "rows": part.rows,
            }
            for place, copy in enumerate((ORIGINAL, *part.copies)):
                if copy != ORIGINAL:
                    facts = facts | {"copy": copy}
                rows = rows_of(
                    part,
                    predictions,
                    seed=index + 50 * place,
                    copy=copy,
                    disturbed=copy in disturbed,
                )
                batch = batch_from_rows(
                    rows, split=part.split, attack=part.attack, epsilon=None, copy=copy
                )
                write_part(folder, info, part, copy, batch, facts)
        return folder

    return make


def write_part(
    folder: Path, info: TableInfo, part: Part, copy: str, batch: pa.RecordBatch, facts: dict
) -> None:
    """The shards of one copy of a part; each says that it is of the original's very rows."""
    originals = info.shards_of(part)
    for (original, _), (name, held) in zip(originals, info.shards_of(part, copy), strict=True):
        said = facts | {"rows": len(held)}
        if copy != ORIGINAL:
            said |= {"original": shard_digest(folder / original)}
        table = pa.Table.from_batches([batch.slice(held.start, len(held))])
        write_shard(folder / name, table, said)
