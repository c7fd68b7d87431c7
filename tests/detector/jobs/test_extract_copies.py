"""Copies lie beside the images that they are copies of, and nothing takes them for those."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
import torch

from detector.attacks import AttackSpec, StrongestOf
from detector.copies import Direction, Flip, Scale, Shift
from detector.errors import DataError
from detector.jobs import shard_work
from detector.jobs.extract import extract
from detector.path_table import CLEAN, PathTable, SplitName, read_shard_info

FLIP, LEFT, SMALLER = Flip(), Shift(direction=Direction.LEFT), Scale(factor=0.75)
PGD = AttackSpec.parse("pgd:8/255,steps=2")
NOISE = AttackSpec.parse("noise-sign:8/255")


@pytest.fixture
def attacked_images(monkeypatch) -> list:
    """The 8-bit images of each batch that is attacked."""
    seen: list[torch.Tensor] = []
    attack = StrongestOf.__call__

    def recorded(*arguments, **options):
        found = attack(*arguments, **options)
        seen.append(found.images)
        return found

    monkeypatch.setattr(StrongestOf, "__call__", recorded)
    return seen


def same_files(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    return {name for name, data in before.items() if after.get(name) == data}


@pytest.mark.parametrize("copy", [FLIP, LEFT, SMALLER], ids=lambda copy: copy.name)
def test_a_copy_is_one_of_the_attacked_8_bit_image(
    copy, tiny_network, tiny_splits, tmp_path, options, attacked_images
) -> None:
    table = extract(tiny_network, tiny_splits, options(tmp_path, copies=(copy,), limit=24))
    rows = list(table.with_copies(SplitName.TEST, PGD.label))
    assert [len(batch) for batch in rows] == [20, 4]
    with torch.no_grad():
        output = tiny_network(tiny_splits.preprocessing(copy(torch.cat(attacked_images))))
    logits = torch.cat([batch.copies[copy.name].class_logits for batch in rows])
    gates = torch.cat([batch.copies[copy.name].path.logits for batch in rows])
    torch.testing.assert_close(logits, output.class_logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(gates, output.path.logits, rtol=0, atol=1e-5)


def test_copies_stand_row_by_row_beside_their_originals(
    tiny_network, tiny_splits, tmp_path, options
) -> None:
    table = extract(tiny_network, tiny_splits, options(tmp_path, copies=(FLIP, SMALLER), limit=30))
    for attack in (CLEAN, PGD.label):
        whole = table.read(SplitName.TEST, attack)
        batches = list(table.with_copies(SplitName.TEST, attack, batch_size=7))
        assert max(len(batch) for batch in batches) == 7
        assert sum(len(batch) for batch in batches) == 30
        ids = torch.cat([batch.original.image_ids for batch in batches])
        assert torch.equal(ids, whole.image_ids)
        for batch in batches:
            assert list(batch.copies) == ["flip", "scale:0.75"]
            for rows in batch.copies.values():
                for name in ("image_ids", "labels", "original_predictions", "success"):
                    assert torch.equal(getattr(rows, name), getattr(batch.original, name)), name
                assert rows.ways == batch.original.ways
                assert torch.equal(rows.predictions, rows.class_logits.argmax(dim=1))
                assert not torch.equal(rows.class_logits, batch.original.class_logits)


def test_the_copy_column_names_the_copy(tiny_network, tiny_splits, tmp_path, options) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path, copies=(LEFT,), attacks=()))
    for name, copy in (("clean", "original"), ("clean--copy-shift-left", "shift:left")):
        column = pq.read_table(tmp_path / f"test--{name}--00000.parquet")["copy"]
        assert set(column.to_pylist()) == {copy}


def test_originals_are_byte_for_byte_those_of_a_table_without_copies(
    tiny_network, tiny_splits, tmp_path, options, contents
) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path / "without", limit=24))
    extract(tiny_network, tiny_splits, options(tmp_path / "with", copies=(FLIP,), limit=24))
    without, with_copies = contents(tmp_path / "without"), contents(tmp_path / "with")
    assert "copies" not in json.loads(without["table.json"])["parts"][0]
    assert without.keys() - same_files(without, with_copies) == {"table.json"}
    assert PathTable(tmp_path / "without").digest() == PathTable(tmp_path / "with").digest()


def test_copies_that_are_added_later_are_those_of_one_run(
    tiny_network, tiny_splits, tmp_path, options, contents, monkeypatch
) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path / "once", copies=(FLIP, LEFT), limit=24))
    extract(tiny_network, tiny_splits, options(tmp_path / "later", limit=24))
    extract(tiny_network, tiny_splits, options(tmp_path / "later", copies=(FLIP,), limit=24))
    written = []
    write = shard_work.write_shard
    monkeypatch.setattr(
        shard_work,
        "write_shard",
        lambda path, *rest: (written.append(path), write(path, *rest)),
    )
    extract(tiny_network, tiny_splits, options(tmp_path / "later", copies=(LEFT,), limit=24))
    assert len(written) == 4
    assert all("--copy-shift-left--" in path.name for path in written)
    assert contents(tmp_path / "later") == contents(tmp_path / "once")


def test_copies_of_clean_images_are_added_without_any_attack(
    tiny_network, tiny_splits, tmp_path, options, attacked_images
) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path))
    attacked_images.clear()
    table = extract(tiny_network, tiny_splits, options(tmp_path, attacks=(), copies=(FLIP,)))
    assert not attacked_images
    assert [part.copies for part in table.parts] == [("flip",), ()]


def test_a_stopped_run_with_copies_continues_to_the_same_bytes(
    tiny_network, tiny_splits, tmp_path, options, contents, monkeypatch
) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path / "once", copies=(FLIP,), limit=24))
    write, calls = shard_work.write_shard, iter(range(20))
    changed = options(tmp_path / "stopped", copies=(FLIP,), limit=24)
    with monkeypatch.context() as patch:

        def stopped(*arguments):
            if next(calls) == 7:  # behind an attacked original, before its copy
                raise KeyboardInterrupt
            write(*arguments)

        patch.setattr(shard_work, "write_shard", stopped)
        with pytest.raises(KeyboardInterrupt):
            extract(tiny_network, tiny_splits, changed)
    with pytest.raises(DataError, match=r"copied by flip. Found 1\. Run the same"):
        list(PathTable(changed.output).with_copies(SplitName.TEST, PGD.label))
    extract(tiny_network, tiny_splits, changed)
    assert contents(tmp_path / "stopped") == contents(tmp_path / "once")


def test_a_table_that_grows_keeps_its_copies_whole(
    tiny_network, tiny_splits, tmp_path, options, contents
) -> None:
    changes = {"attacks": (NOISE,), "copies": (FLIP,)}
    extract(tiny_network, tiny_splits, options(tmp_path / "once", limit=44, **changes))
    extract(tiny_network, tiny_splits, options(tmp_path / "grown", limit=30, **changes))
    extract(tiny_network, tiny_splits, options(tmp_path / "grown", limit=44, attacks=(NOISE,)))
    assert contents(tmp_path / "grown") == contents(tmp_path / "once")


def test_an_attack_that_ends_elsewhere_gets_no_copies_beside_the_old_rows(
    tiny_network, tiny_splits, tmp_path, options, contents, monkeypatch
) -> None:
    noise = options(tmp_path, attacks=(AttackSpec.parse("noise-sign:64/255"),))
    extract(tiny_network, tiny_splits, noise)
    before = contents(tmp_path)
    monkeypatch.setattr(shard_work, "_seed", lambda *_: 5)  # as another machine might
    copies = options(tmp_path, attacks=noise.attacks, copies=(FLIP,))
    with pytest.raises(DataError, match=r"ended elsewhere.*Delete that shard"):
        extract(tiny_network, tiny_splits, copies)
    assert {n for n in before if n.startswith("test--noise")} <= same_files(
        before, contents(tmp_path)
    )
    for path in tmp_path.glob("test--noise*"):
        path.unlink()
    table = extract(tiny_network, tiny_splits, copies)
    assert sum(len(rows) for rows in table.with_copies(SplitName.TEST, noise.attacks[0].label))


def test_copies_are_made_again_where_their_original_is(
    tiny_network, tiny_splits, tmp_path, options, contents
) -> None:
    changed = options(tmp_path, attacks=(), copies=(FLIP,))
    extract(tiny_network, tiny_splits, changed)
    before = contents(tmp_path)
    first = tmp_path / "test--clean--00000.parquet"
    table = pq.read_table(first)
    shard_work.write_shard(first, table, {**read_shard_info(first), "note": "other bytes"})
    with pytest.raises(DataError, match="should have been made with original"):
        list(PathTable(tmp_path).with_copies(SplitName.TEST))
    extract(tiny_network, tiny_splits, changed)
    assert list(PathTable(tmp_path).with_copies(SplitName.TEST))
    first.unlink()
    extract(tiny_network, tiny_splits, changed)
    assert contents(tmp_path) == before


def test_a_copy_is_never_read_as_an_original_nor_as_another_copy(
    tiny_network, tiny_splits, tmp_path, options
) -> None:
    changed = options(tmp_path, attacks=(), copies=(FLIP, LEFT))
    table = extract(tiny_network, tiny_splits, changed)
    flipped = tmp_path / "test--clean--copy-flip--00000.parquet"
    original = tmp_path / "test--clean--00000.parquet"
    kept = original.read_bytes()
    for name, read in (
        (original, lambda: table.read(SplitName.TEST)),
        (
            tmp_path / "test--clean--copy-shift-left--00000.parquet",
            lambda: list(table.with_copies(SplitName.TEST)),
        ),
    ):
        name.write_bytes(flipped.read_bytes())
        with pytest.raises(DataError, match="should have been made with copy"):
            read()
        with pytest.raises(DataError, match="should have been made with copy"):
            extract(tiny_network, tiny_splits, changed)
        original.write_bytes(kept)


def test_copies_that_a_part_does_not_have_are_refused_by_name(
    tiny_network, tiny_splits, tmp_path, options
) -> None:
    table = extract(tiny_network, tiny_splits, options(tmp_path, attacks=(), copies=(FLIP,)))
    (tmp_path / "test--clean--copy-flip--00001.parquet").unlink()
    with pytest.raises(DataError, match=r"copied by flip\. Found 2\. Run the same"):
        list(table.with_copies(SplitName.TEST))
    with pytest.raises(DataError, match=r"copies shift:left .*Found flip.*--copy shift:left"):
        list(table.with_copies(SplitName.TEST, copies=("flip", "shift:left")))
