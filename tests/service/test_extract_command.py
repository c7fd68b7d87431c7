"""The extract command hands the network that attacks go through to the job."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from service import cli

ARGUMENTS = ["extract", "--data", "d", "--network", "n", "--output", "o", "--split", "test"]


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the job was given as the network that attacks go through, call by call."""
    given: list[Any] = []
    info = SimpleNamespace(preprocessing=None)
    monkeypatch.setattr("detector.weights.load_gated", lambda _: (None, info))
    monkeypatch.setattr("detector.data.load_splits", lambda *_, **__: None)
    monkeypatch.setattr("detector.jobs.held_out.check_held_out", lambda *_: None)
    monkeypatch.setattr(
        "detector.jobs.surrogate.Surrogate.load",
        lambda path: SimpleNamespace(path=path, label="0123456789ab"),
    )
    monkeypatch.setattr(
        "detector.jobs.extract.extract", lambda *_, surrogate, engine: given.append(surrogate)
    )
    return given


def test_attacks_go_through_the_network_that_is_named(
    handed_over: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*ARGUMENTS, "--attack", "mim:8/255", "--attack-through", "other.safetensors"]
    assert cli.run(arguments) == 0
    assert [surrogate.path for surrogate in handed_over] == [Path("other.safetensors")]
    assert "@0123456789ab" in capsys.readouterr().out


@pytest.mark.parametrize("address", ["s3://bucket/net", "gs://bucket", "abfss://c@a/net"])
@pytest.mark.parametrize("command", ["train", "calibrate", "evaluate"])
def test_an_address_is_not_taken_for_a_folder(
    command: str, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    others = {
        "train": ["--data", "d"],
        "calibrate": ["--table", "t", "--network", "n"],
        "evaluate": ["--data", "d", "--table", "t"],
    }
    assert cli.run([command, *others[command], "--output", address]) == 2
    assert "--output should be a folder. Found an address" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["extract", "calibrate", "evaluate"])
def test_a_cluster_that_is_away_is_one_sentence(
    command: str,
    handed_over: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    others = {
        "extract": ARGUMENTS[1:],
        "calibrate": ["--table", "t", "--network", "n", "--output", "o"],
        "evaluate": ["--data", "d", "--table", "t", "--output", "o"],
    }
    assert cli.run([command, *others[command], "--engine", "ray"]) == 2
    written = capsys.readouterr().err
    assert written.startswith("Error: A Ray cluster should answer at 127.0.0.1:1. Found:")
    assert written.count("\n") == 1
    assert not handed_over


def test_ray_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.run([*ARGUMENTS, "--engine", "ray"]) == 2
    assert "pip install '.[ray]'" in capsys.readouterr().err


def test_attacks_are_made_on_the_network_itself_where_no_other_is_named(
    handed_over: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*ARGUMENTS, "--attack", "mim:8/255"]) == 0
    assert handed_over == [None]
    assert "@" not in capsys.readouterr().out
