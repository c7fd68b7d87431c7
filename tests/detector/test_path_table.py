"""The path table: what was written is read, and what is not whole is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from detector.errors import DataError
from detector.path_table import (
    CLEAN,
    SCHEMA_VERSION,
    CopiedRows,
    Part,
    PathRows,
    PathTable,
    SplitName,
    TableInfo,
    batch_from_rows,
    read_shard_info,
    rows_from_batch,
    write_shard,
)
from detector.paths import PathLayout, PathVectors
from detector.preprocessing import Preprocessing

LAYOUT = PathLayout(names=("one", "two"), sizes=(5, 8))
PREPROCESSING = Preprocessing(
    height=8, width=8, shorter_side=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
)


def some_rows(count: int, *, first: int = 0) -> PathRows:
    generator = torch.Generator().manual_seed(first)
    logits = torch.randn(count, LAYOUT.gates, generator=generator)
    return PathRows(
        image_ids=torch.arange(first, first + count),
        path=PathVectors(
            layout=LAYOUT, bits=logits > 0, logits=logits, activations=logits.clamp_min(0)
        ),
        class_logits=torch.randn(count, 3, generator=generator),
        labels=torch.arange(count) % 3,
        original_predictions=torch.arange(count) % 3,
        predictions=torch.arange(count) % 2,
        success=torch.arange(count) % 2 == 0,
        ways=tuple(f"way-{row}" for row in range(count)),
    )


def assert_same(found: PathRows, expected: PathRows) -> None:
    for name in ("image_ids", "class_logits", "labels", "original_predictions", "predictions"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    for name in ("bits", "logits", "activations"):
        assert torch.equal(getattr(found.path, name), getattr(expected.path, name)), name
    assert torch.equal(found.success, expected.success)
    assert found.ways == expected.ways


def write_part(folder: Path, counts: list[int]) -> TableInfo:
    """A table with one clean test part, in shards of these numbers of rows."""
    part = Part(split=SplitName.TEST, attack=CLEAN, rows=sum(counts))
    info = TableInfo(
        network="abc",
        preprocessing=PREPROCESSING,
        layout=LAYOUT,
        class_names=("x", "y", "z"),
        shard_size=counts[0],
        parts=(part,),
    )
    info.write(folder)
    for name, rows in info.shards_of(part):
        batch = batch_from_rows(
            some_rows(len(rows), first=rows.start), split="test", attack=CLEAN, epsilon=None
        )
        facts = {
            "schema_version": SCHEMA_VERSION,
            "network": "abc",
            "preprocessing": PREPROCESSING.to_json(),
            "split": "test",
            "attack": CLEAN,
            "rows": len(rows),
        }
        write_shard(folder / name, pa.Table.from_batches([batch]), facts)
    return info


def test_rows_survive_arrow_and_any_slice_of_it() -> None:
    rows = some_rows(9)
    batch = batch_from_rows(rows, split="test", attack="pgd:8/255", epsilon=8 / 255)
    assert_same(rows_from_batch(batch, LAYOUT), rows)
    tail = rows_from_batch(batch.slice(4), LAYOUT)
    assert torch.equal(tail.path.bits, rows.path.bits[4:])
    assert torch.equal(tail.path.logits, rows.path.logits[4:])
    assert torch.equal(tail.success, rows.success[4:])


def test_rows_are_observed_as_the_network_told_them() -> None:
    original, flip = some_rows(4), some_rows(4, first=9)
    seen = CopiedRows(original=original, copies={"flip": flip}).seen
    assert tuple(seen.copies) == ("flip",)
    assert not original.seen.copies
    for told in (original.seen, seen):
        assert told.path is original.path
        assert told.class_logits is original.class_logits
    assert seen.copies["flip"].path is flip.path
    assert seen.copies["flip"].class_logits is flip.class_logits


def test_a_part_reads_as_it_was_written(tmp_path) -> None:
    write_part(tmp_path, [4, 4, 2])
    expected = PathRows.concatenate([some_rows(4), some_rows(4, first=4), some_rows(2, first=8)])
    table = PathTable(tmp_path)
    assert_same(table.read(SplitName.TEST), expected)
    batches = list(table.batches(SplitName.TEST, batch_size=3))
    assert [len(batch) for batch in batches] == [3, 1, 3, 1, 2]
    assert_same(PathRows.concatenate(batches), expected)


def test_what_a_table_is_reads_as_it_was_written(tmp_path) -> None:
    info = write_part(tmp_path, [4, 1])
    assert TableInfo.read(tmp_path) == info
    assert PathTable(tmp_path).parts == info.parts


def test_a_part_keeps_the_network_that_its_images_were_made_on() -> None:
    plain = Part(split=SplitName.TEST, attack="pgd:8/255", rows=4)
    through = Part(split=SplitName.TEST, attack="pgd:8/255@abc", rows=4, surrogate="abcdef")
    assert [Part.from_json(part.to_json()) for part in (plain, through)] == [plain, through]
    assert "surrogate" not in plain.to_json()
    assert plain.stem != through.stem


def test_the_same_rows_give_the_same_bytes(tmp_path) -> None:
    for name in ("first", "second"):
        write_part(tmp_path / name, [4, 4])
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("first", "second")
    )
    assert first == second


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "newer", "list"])
def test_a_folder_that_is_no_table_is_refused(damage, tmp_path) -> None:
    write_part(tmp_path, [4])
    plan = tmp_path / "table.json"
    if damage == "missing":
        plan.unlink()
    elif damage == "newer":
        fields = json.loads(plan.read_text())
        plan.write_text(json.dumps({**fields, "schema_version": SCHEMA_VERSION + 1}))
    else:
        plan.write_text({"empty": "", "text": "hello", "list": "[]"}[damage])
    with pytest.raises(DataError, match=r"should .* Found .*[Ee]xtract"):
        PathTable(tmp_path)


def test_a_part_that_is_not_there_is_refused_by_name(tmp_path) -> None:
    write_part(tmp_path, [4])
    with pytest.raises(DataError, match=r"fit images, pgd:8/255. Found test clean"):
        PathTable(tmp_path).read(SplitName.FIT, "pgd:8/255")


def test_an_unfinished_part_is_refused(tmp_path) -> None:
    write_part(tmp_path, [4, 4, 2])
    (tmp_path / "test--clean--00001.parquet").unlink()
    with pytest.raises(DataError, match=r"3 shards .* Found 2.*continues where it stopped"):
        PathTable(tmp_path).read(SplitName.TEST)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.98])
def test_a_truncated_shard_is_refused(keep, tmp_path) -> None:
    write_part(tmp_path, [4, 4])
    shard = tmp_path / "test--clean--00001.parquet"
    data = shard.read_bytes()
    shard.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(DataError, match="should be a whole shard"):
        PathTable(tmp_path).read(SplitName.TEST)


def test_a_foreign_parquet_file_is_refused(tmp_path) -> None:
    write_part(tmp_path, [4])
    pq.write_table(pa.table({"a": [1]}), tmp_path / "test--clean--00000.parquet")
    with pytest.raises(DataError, match="should be a whole shard"):
        PathTable(tmp_path).read(SplitName.TEST)


def test_a_shard_of_another_network_is_refused(tmp_path) -> None:
    write_part(tmp_path, [4])
    shard = tmp_path / "test--clean--00000.parquet"
    facts = {**read_shard_info(shard), "network": "other"}
    write_shard(shard, pq.read_table(shard), facts)
    with pytest.raises(DataError, match=r"made with network abc\. Found other"):
        PathTable(tmp_path).read(SplitName.TEST)


def test_parts_of_different_attacks_have_different_files() -> None:
    labels = ["clean", "pgd:8/255", "pgd:2/255", "pgd:8/255,steps=20", "pgd:0.01", "pgd:0"]
    stems = {Part(split=SplitName.TEST, attack=label, rows=1).stem for label in labels}
    assert len(stems) == len(labels)
