"""The demo from start to end, on a network that was never trained."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from detector.data import CIFAR10_CLASSES
from service import cli


@pytest.mark.slow
def test_the_demo_sends_clean_and_attacked_images_and_stops_the_server(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.run(["demo", "--bundle", str(bundle_folder), "--per-class", "1"]) == 0
    shown = capsys.readouterr().out
    for kind in ("clean", "FGSM 8/255", "PGD 8/255", "PGD 2/255"):
        assert kind in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "Share flagged" in shown
    assert "Level standard: 2 passes" in shown
    assert 'offpath_images_total{level="standard"} 40.0' in shown
    assert "The server has stopped" in shown


def test_the_demo_on_a_broken_bundle_gives_the_servers_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["demo", "--bundle", str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err


def test_a_dozen_samples_of_each_class_come_with_the_package() -> None:
    names = [entry.name for entry in (files("service") / "samples").iterdir()]
    for label in CIFAR10_CLASSES:
        assert sum(name.rpartition("_")[0] == label for name in names) == 12
