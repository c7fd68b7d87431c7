"""A table in object storage is the one that would lie in a folder here, whatever happens."""

from __future__ import annotations

import dataclasses
import io
from functools import partial

import pyarrow.parquet as pq
import pytest

from detector.attacks import AttackSpec
from detector.copies import parse_copy
from detector.errors import DataError, StorageError
from detector.jobs import extract as extraction
from detector.jobs import shard_work
from detector.jobs.calibrate import CalibrateOptions, calibrate
from detector.jobs.extract import extract
from detector.object_storage import sole_object_writer
from detector.path_table import PathTable, SplitName, place_of
from detector.weights import save_weights

COPY = parse_copy("flip")
PGD = AttackSpec.parse("pgd:8/255,steps=2")


@pytest.fixture
def folder(bucket):
    return place_of(bucket.address())


def stop_at(monkeypatch, call, happening) -> None:
    """Let something happen instead of, or before, the n-th file."""
    write, calls = shard_work.write_shard, iter(range(1, 10**6))

    def written(*what) -> None:
        if next(calls) == call:
            happening()
        write(*what)

    monkeypatch.setattr(shard_work, "write_shard", written)


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_table_has_the_files_and_bytes_that_it_has_in_a_folder_here(
    elsewhere, tiny_network, tiny_splits, tmp_path, options, contents, folder, bucket, request
) -> None:
    engine = request.getfixturevalue("engine_elsewhere") if elsewhere else None
    # Enough files to be looked for together, and with attacks in two runs.
    changes = {"copies": (COPY,), "shard_size": 8}
    for output in (tmp_path / "here", folder):
        extract(tiny_network, tiny_splits, options(output, **changes, attacks=()), engine=engine)
        table = extract(tiny_network, tiny_splits, options(output, **changes), engine=engine)
        assert len(table.read(SplitName.TEST, PGD.label)) == 50
    assert bucket.files() == contents(tmp_path / "here")
    assert PathTable(folder).digest() == PathTable(tmp_path / "here").digest()


@pytest.mark.parametrize("at", [1, 4])
def test_a_run_that_was_stopped_and_continued_writes_the_same_bytes(
    at, tiny_network, tiny_splits, tmp_path, options, contents, folder, bucket, monkeypatch
) -> None:
    asked = options(folder, copies=(COPY,))
    with monkeypatch.context() as patch:
        stop_at(patch, at, interrupt)
        with pytest.raises(KeyboardInterrupt):
            extract(tiny_network, tiny_splits, asked)
    finished = bucket.files()
    assert len(finished) == at  # table.json, and all shards but that one
    made = []
    with monkeypatch.context() as patch:
        write = shard_work.write_shard
        patch.setattr(shard_work, "write_shard", lambda p, *w: (made.append(p.name), write(p, *w)))
        extract(tiny_network, tiny_splits, asked)
    assert len(set(made)) == len(made)
    assert not finished.keys() & set(made)
    extract(tiny_network, tiny_splits, options(tmp_path / "here", copies=(COPY,)))
    assert bucket.files() == contents(tmp_path / "here")


def test_rights_that_are_lost_half_way_cost_no_finished_shard(
    tiny_network, tiny_splits, options, folder, bucket, monkeypatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 3, partial(bucket.forbid, "s3:PutObject", "s3:DeleteObject"))
        with pytest.raises(StorageError, match=r"--00002.parquet should be writable.*access den"):
            extract(tiny_network, tiny_splits, options(folder))
    bucket.allow()
    kept = bucket.files()
    assert sum(name.endswith(".parquet") for name in kept) == 2
    # The flag that could not be removed is one of a job that says nothing any more.
    quick = partial(sole_object_writer, beat_s=0.1, silence_s=1.5)
    monkeypatch.setattr(extraction, "sole_writer_of", quick)
    extract(tiny_network, tiny_splits, options(folder))
    shards = {name: content for name, content in kept.items() if name.endswith(".parquet")}
    assert shards.items() <= bucket.files().items()
    assert not [name for name in bucket.files() if name.startswith(".")]


def test_shards_that_were_made_from_something_else_are_refused(
    tiny_network, tiny_splits, options, folder, bucket
) -> None:
    extract(tiny_network, tiny_splits, options(folder))
    before = bucket.files()
    with pytest.raises(DataError, match=r"^s3://.*parquet should have been made with seed 1. Foun"):
        extract(tiny_network, tiny_splits, options(folder, seed=1))
    with pytest.raises(DataError, match="should hold a path table with the same shard size"):
        extract(tiny_network, tiny_splits, options(folder, shard_size=25))
    assert bucket.files() == before


def test_a_half_written_shard_is_named_and_made_again_with_its_copies_once_it_is_gone(
    tiny_network, tiny_splits, options, folder, bucket
) -> None:
    asked = options(folder, copies=(COPY,))
    extract(tiny_network, tiny_splits, asked)
    before = bucket.files()
    name = "test--clean--00001.parquet"
    bucket.put(name, before[name][:-200])
    with pytest.raises(DataError, match=f"{name} should be a whole shard.*Delete it"):
        extract(tiny_network, tiny_splits, asked)
    bucket.delete(name)
    with pytest.raises(DataError, match=r"should hold 3 shards .* Found 2"):
        PathTable(folder).read(SplitName.TEST)
    extract(tiny_network, tiny_splits, asked)
    assert bucket.files() == before


def test_copies_of_other_bytes_than_those_that_lie_there_are_refused_and_made_again(
    tiny_network, tiny_splits, options, folder, bucket
) -> None:
    asked = options(folder, copies=(COPY,), attacks=())
    extract(tiny_network, tiny_splits, asked)
    before = bucket.files()
    name = "test--clean--00000.parquet"
    other = io.BytesIO()  # the same rows, made from the same
    pq.write_table(pq.read_table(io.BytesIO(before[name])), other, compression="none")
    bucket.put(name, other.getvalue())
    with pytest.raises(DataError, match=r"00000\.parquet should have been made with original"):
        list(PathTable(folder).with_copies(SplitName.TEST))
    table = extract(tiny_network, tiny_splits, asked)
    assert sum(len(rows) for rows in table.with_copies(SplitName.TEST)) == 50
    changed = {each for each, content in bucket.files().items() if content != before[each]}
    assert changed == {name, name.replace("--0", "--copy-flip--0")}


def test_a_second_job_is_refused_while_the_first_writes(
    tiny_network, tiny_splits, options, folder, bucket, monkeypatch
) -> None:
    monkeypatch.setattr(
        extraction, "sole_writer_of", partial(sole_object_writer, beat_s=0.1, silence_s=300)
    )
    with (
        sole_object_writer(folder, beat_s=0.1),
        pytest.raises(StorageError, match="one job at a time"),
    ):
        extract(tiny_network, tiny_splits, options(folder))
    assert not bucket.files()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_bundle_is_the_same_wherever_its_table_lies(
    elsewhere, make_table, resnet20, network_info, tmp_path, folder, bucket, request
) -> None:
    engine = request.getfixturevalue("engine_elsewhere") if elsewhere else None
    network = tmp_path / "network.safetensors"
    save_weights(network, resnet20, network_info)
    here = make_table(tmp_path / "table", copies=("flip",), shard_size=70)
    for path in here.iterdir():
        bucket.put(path.name, path.read_bytes())
    options = CalibrateOptions(table=here, network=network, output=tmp_path / "0", folds=0)
    calibrate(options)
    there = dataclasses.replace(options, table=folder, output=tmp_path / "1")
    calibrate(there, engine=engine)
    files = [(tmp_path / each / "detector.safetensors").read_bytes() for each in "01"]
    assert files[0] == files[1]
