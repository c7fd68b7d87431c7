"""The extract command hands the network that attacks go through to the job."""

from __future__ import annotations

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


def test_attacks_are_made_on_the_network_itself_where_no_other_is_named(
    handed_over: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*ARGUMENTS, "--attack", "mim:8/255"]) == 0
    assert handed_over == [None]
    assert "@" not in capsys.readouterr().out
