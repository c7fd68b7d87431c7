"""The cost command counts a bundle's network or another one, and shows what it found."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from detector.bundle import load_bundle
from detector.decoupling import Backbone, build_backbone
from detector.fingerprints import network_digest
from detector.jobs.cost_report import CostReport
from detector.weights import NetworkInfo, save_weights
from service import cli


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of ten classes, with 20 test images."""
    generator = np.random.default_rng(0)
    path = tmp_path / "data.npz"
    arrays = {
        f"{part}_{kind}": generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        if kind == "images"
        else np.arange(count) % 10
        for part, count in (("train", 60), ("test", 20))
        for kind in ("images", "labels")
    }
    np.savez(path, **arrays)
    return path


def printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> CostReport:
    capsys.readouterr()
    assert cli.run([*arguments, "--json"]) == 0
    return CostReport.from_json(json.loads(capsys.readouterr().out))


def test_the_network_of_a_bundle_is_counted_and_shown(
    bundle_folder: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["cost", "--data", str(data), "--bundle", str(bundle_folder), "--device", "cpu"]
    arguments += ["--limit", "12"]
    assert cli.run(arguments) == 0
    shown = capsys.readouterr().out
    found = printed(arguments, capsys)
    network = load_bundle(bundle_folder).pipeline.network
    assert (found.network, found.images, found.split) == (network_digest(network), 12, "test")
    assert f"multiplies {found.plain:,} times" in shown
    assert f"left with {found.kept.mean:.1%} [{found.kept.low:.1%}, {found.kept.high:.1%}]" in shown
    assert f"costs {found.modules.total:,} more, {found.module_share:.2%}" in shown
    assert f"In all: {found.total.mean:.1%} [" in shown
    for layer in found.layers:
        row = rf"^{re.escape(layer.layer)} .* {layer.plain:,} .* {layer.kept:.1%} "
        assert re.search(row, shown, flags=re.MULTILINE)


@pytest.fixture
def trained(bundle_folder: Path, tmp_path: Path) -> Path:
    """The network of the bundle, as train writes it."""
    pipeline = load_bundle(bundle_folder).pipeline
    path = tmp_path / "network.safetensors"
    save_weights(path, pipeline.network, info_of(bundle_folder))
    return path


def info_of(folder: Path) -> NetworkInfo:
    bundle = load_bundle(folder)
    return NetworkInfo(
        backbone=bundle.manifest.backbone,
        class_names=bundle.pipeline.class_names,
        preprocessing=bundle.pipeline.preprocessing,
    )


def test_a_network_that_has_no_bundle_yet_is_counted_too(
    trained: Path, bundle_folder: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = []
    for name, path in (("--network", trained), ("--bundle", bundle_folder)):
        arguments = ["cost", "--data", str(data), name, str(path), "--device", "cpu"]
        reports.append(printed([*arguments, "--split", "fit"], capsys))
    assert reports[0] == reports[1]
    assert reports[0].split == "fit"


def test_a_plain_network_is_one_sentence(
    bundle_folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plain.safetensors"
    info = info_of(bundle_folder)
    plain: nn.Module = build_backbone(Backbone(info.backbone), len(info.class_names))
    save_weights(path, plain, info)
    assert cli.run(["cost", "--data", str(data), "--network", str(path), "--device", "cpu"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "should be decoupled. Found a plain one" in captured.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--bundle", "b", "--network", "n"], "Found --bundle and --network"),
        (["--split", "other"], "--split should be one of"),
        (["--limit", "0"], "limit"),
        (["--network", "nothing"], "nothing should be a network written by"),
        ([], "nowhere.npz"),
    ],
)
def test_what_cannot_be_counted_is_one_sentence(
    options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["cost", "--data", "nowhere.npz", "--device", "cpu", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert told in captured.err
