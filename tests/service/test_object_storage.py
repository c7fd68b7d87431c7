"""Commands take tables in object storage, and say in one sentence what is wrong there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from detector.decoupling import Backbone
from detector.object_storage import ObjectPath
from detector.preprocessing import IMAGENET_PREPROCESSING
from detector.weights import NetworkInfo, build_network, save_weights
from service import cli
from tests.object_store import Bucket

ADDRESS = "s3://some-bucket/paths"
JOBS = {
    "extract": (
        "detector.jobs.extract.extract",
        ["--data", "d", "--network", "n", "--split", "test", "--output", ADDRESS],
    ),
    "calibrate": (
        "detector.jobs.calibrate.calibrate",
        ["--network", "n", "--output", "o", "--table", ADDRESS],
    ),
    "evaluate": (
        "detector.jobs.evaluation.evaluate",
        ["--data", "d", "--output", "o", "--table", ADDRESS],
    ),
    "report": (
        "detector.jobs.calibration_report.make_report",
        ["--output", "o", "--table", ADDRESS],
    ),
}


class HandedOverError(Exception):
    """The job has what it needs."""


@pytest.mark.parametrize("command", list(JOBS))
def test_an_address_reaches_the_job_as_one(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    job, arguments = JOBS[command]
    given: list[Any] = []

    def takes(*what: Any, **_: Any) -> None:
        given.extend(what)
        raise HandedOverError

    monkeypatch.setattr(job, takes)
    info = SimpleNamespace(preprocessing=None)
    monkeypatch.setattr("detector.weights.load_gated", lambda _: (None, info))
    monkeypatch.setattr("detector.data.load_splits", lambda *_, **__: None)
    monkeypatch.setattr("detector.jobs.held_out.check_held_out", lambda *_: None)
    with pytest.raises(HandedOverError):
        cli.run([command, *arguments])
    options = given[-1]
    assert ObjectPath(folder=ADDRESS) == (options.output if command == "extract" else options.table)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    info = NetworkInfo(
        backbone=Backbone.CIFAR_RESNET20,
        class_names=("cat", "dog"),
        preprocessing=IMAGENET_PREPROCESSING.resized(8),
    )
    save_weights(path, build_network(info), info)
    return path


@pytest.mark.parametrize("command", ["calibrate", "interpret"])
@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("no table", "should be a path table written by `offpath extract`. Found no usable"),
        ("no bucket", "should be a path table written by `offpath extract`. Found no usable"),
        ("no rights", "should be readable. Found: access denied"),
        ("no answer", "should be readable. Found: network connection"),
        ("no storage", "should be a folder, or an address that begins with one of s3://"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_sentence(
    trouble: str,
    told: str,
    command: str,
    network: Path,
    bucket: Bucket,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if trouble == "no rights":
        bucket.put("table.json", b"{}")
        bucket.forbid("s3:GetObject")
    address = {
        "no bucket": "s3://none-such/paths",
        "no answer": "s3://bucket/paths?endpoint_override=127.0.0.1:1&region=eu-central-1",
        "no storage": "ftp://host/paths",
    }.get(trouble, bucket.address())
    output = tmp_path / "found.json"
    arguments = ["--table", address, "--network", str(network), "--output", str(output)]
    assert cli.run([command, *arguments]) == 2
    written = capsys.readouterr().err
    assert written.startswith(f"Error: {address.partition('?')[0]}")
    assert told in written
    assert written.count("\n") == 1
    assert not output.exists()
