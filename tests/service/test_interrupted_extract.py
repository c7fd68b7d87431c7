"""Whatever stops the command, finished shards are kept, and the next run ends as if undisturbed."""

from __future__ import annotations

import resource
import subprocess
import time
from contextlib import ExitStack
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from detector.decoupling import Backbone
from detector.object_storage import sole_object_writer
from detector.path_table import place_of
from detector.preprocessing import IMAGENET_PREPROCESSING
from detector.storage import sole_writer
from detector.weights import NetworkInfo, build_network, save_weights
from service import cli
from tests.figures.killed import Extraction, files_of, run_killed

CLASSES = ("cat", "dog")
SPLITS = {"train": 2, "fit": 15, "calibration": 2, "test": 15}


@pytest.fixture(scope="module")
def extraction(tmp_path_factory) -> Extraction:
    """Thirty images, clean and attacked, with one copy of each: 24 files of five rows."""
    folder = tmp_path_factory.mktemp("extraction")
    generator = np.random.default_rng(0)
    for split, count in SPLITS.items():
        for name in CLASSES:
            (folder / "data" / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "data" / split / name / f"{index}.png")
    torch.manual_seed(0)
    info = NetworkInfo(
        backbone=Backbone.CIFAR_RESNET20,
        class_names=CLASSES,
        preprocessing=IMAGENET_PREPROCESSING.resized(8),
    )
    network = build_network(info)
    for controller in network.controllers:
        nn.init.normal_(controller.excite.weight)
    save_weights(folder / "network.safetensors", network, info)
    options = ["--copy", "flip", "--shard-size", "5", "--batch-size", "5", "--device", "cpu"]
    return Extraction(
        data=folder / "data",
        network=folder / "network.safetensors",
        options=["--split", "test", "--attack", "fgsm:8/255", *options],
    )


@pytest.fixture(scope="module")
def undisturbed(extraction, tmp_path_factory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("undisturbed")
    assert cli.run(extraction.command(output)[3:]) == 0
    return files_of(output)


@pytest.mark.slow
def test_killed_twice_the_command_ends_with_the_same_table(
    extraction, undisturbed, tmp_path
) -> None:
    assert run_killed(extraction, tmp_path / "table", kills=2) == 2
    assert files_of(tmp_path / "table") == undisturbed


def test_a_second_command_is_refused_while_the_first_writes(extraction, tmp_path, capsys) -> None:
    with sole_writer(tmp_path):
        assert cli.run(extraction.command(tmp_path)[3:]) == 2
    assert "one job at a time" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_half_written_shard_is_named_and_the_others_are_used_once_it_is_gone(
    extraction, undisturbed, tmp_path, capsys
) -> None:
    for name, content in undisturbed.items():
        (tmp_path / name).write_bytes(content)
    half = tmp_path / "test--clean--00001.parquet"
    half.write_bytes(half.read_bytes()[:-200])
    kept = {name: (tmp_path / name).stat().st_mtime_ns for name in undisturbed}
    assert cli.run(extraction.command(tmp_path)[3:]) == 2
    told = capsys.readouterr().err
    assert f"{half} should be a whole shard" in told
    assert "Delete it and run the same `offpath extract` again" in told
    half.unlink()
    assert cli.run(extraction.command(tmp_path)[3:]) == 0
    assert files_of(tmp_path) == undisturbed
    again = {name for name, time in kept.items() if (tmp_path / name).stat().st_mtime_ns != time}
    assert again == {half.name, half.name.replace("--00001", "--copy-flip--00001"), "table.json"}


def test_files_that_may_not_grow_are_one_sentence_and_what_was_finished_is_used(
    extraction, undisturbed, tmp_path
) -> None:
    """The real thing, as on a full disk: the system refuses what is written beyond a limit."""
    first = extraction.command(tmp_path)[3:]
    assert cli.run([*first, "--limit", "5"]) == 0
    before = files_of(tmp_path)
    smallest = min(len(content) for name, content in before.items() if name.endswith(".parquet"))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (smallest // 2, smallest // 2))

    done = subprocess.run(
        extraction.command(tmp_path), preexec_fn=limit, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert ".parquet should be writable. Found" in done.stderr.replace("\n", " ")
    assert "File too large" in done.stderr
    assert "Free some space" in done.stderr
    assert "Traceback" not in done.stderr
    after = files_of(tmp_path)
    assert set(after) == set(before)
    assert all(after[name] == before[name] for name in before if name.endswith(".parquet"))
    assert cli.run(first) == 0
    assert files_of(tmp_path) == undisturbed


def test_killed_the_command_ends_with_the_same_table_in_a_bucket(
    extraction, undisturbed, bucket, monkeypatch
) -> None:
    """What a killed job left of itself there is outlived; here it is not waited for so long."""
    command = extraction.command(bucket.address())
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while sum(name.endswith(".parquet") for name in bucket.names()) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.kill()
    process.communicate()
    kept = bucket.files()
    assert len(kept) < len(undisturbed)
    assert [name for name in kept if name.startswith(".writer-")]
    quick = partial(sole_object_writer, beat_s=0.1, silence_s=1.5)
    monkeypatch.setattr("detector.path_table.places.sole_object_writer", quick)
    assert cli.run(command[3:]) == 0
    assert bucket.files() == undisturbed


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("no bucket", "Found: no such bucket"),
        ("no rights", "Found: access denied"),
        ("no answer", "Found: network connection"),
        ("another job", "should be written by one job at a time. Found process"),
    ],
)
def test_a_bucket_that_cannot_be_written_is_one_sentence(
    trouble, told, extraction, bucket, capsys
) -> None:
    address = {
        "no bucket": "s3://none-such/paths",
        "no answer": "s3://bucket/paths?endpoint_override=127.0.0.1:1&region=eu-central-1",
    }.get(trouble, bucket.address())
    if trouble == "no rights":
        bucket.forbid("s3:PutObject")
    with ExitStack() as around:
        if trouble == "another job":
            around.enter_context(sole_object_writer(place_of(address), beat_s=0.1))
        assert cli.run(extraction.command(address)[3:]) == 2
    written = capsys.readouterr().err
    assert written.startswith("Error: s3://")
    assert told in written
    assert written.count("\n") == 1
    assert not bucket.files()
