"""The command line: readable help, and one sentence with exit code 2 for whatever goes wrong."""

from __future__ import annotations

import json
import pickle
import socket
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import typer

from detector.conformal import Guarantee
from detector.copies import CopyName, Direction
from detector.corruptions import CorruptionName
from detector.decoupling import Backbone
from detector.decoupling.recipes import Preset, Recipe, recipe_of
from detector.jobs.train import TrainingOptions, TrainingResult
from detector.path_table import SplitName
from detector.scoring.classifiers import ClassifierName
from service import cli
from service.results import (
    Detection,
    DetectReply,
    DriftDescription,
    DriftState,
    LayerWeight,
    Level,
    Verdict,
)

COMMANDS = (
    "serve",
    "check",
    "demo",
    "token",
    "cifar10",
    "train",
    "extract",
    "calibrate",
    "interpret",
    "cost",
    "sweep",
)

CALIBRATE = ["calibrate", "--table", "t", "--network", "no/such/network", "--output", "o"]
EXTRACT = ["extract", "--data", "d", "--network", "no/such/network", "--output", "o"]


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")


def one_sentence(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_help_lists_every_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_describes_each_option_and_gives_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"offpath {command}" in shown.partition("Example")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_word_of_a_help_is_lost_as_markup(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    group = typer.main.get_command(cli.app)
    helps = [parameter.help or "" for parameter in group.commands[command].params]
    cli.run([command, "--help"])
    shown = "".join(capsys.readouterr().out.replace("│", "").split())
    assert [text for text in helps if "".join(text.split()) not in shown] == []


@pytest.mark.parametrize(
    ("command", "choices"),
    [
        ("check", Level),
        ("train", Preset),
        ("train", Backbone),
        ("extract", SplitName),
        ("extract", CopyName),
        ("extract", Direction),
        ("extract", CorruptionName),
        ("cost", SplitName),
        ("sweep", Preset),
        ("calibrate", ClassifierName),
        ("calibrate", Guarantee),
    ],
)
def test_the_help_names_every_choice(
    command: str, choices: type[StrEnum], capsys: pytest.CaptureFixture[str]
) -> None:
    cli.run([command, "--help"])
    shown = "".join(capsys.readouterr().out.replace("│", "").split())
    assert all(choice.value in shown for choice in choices)


def test_the_options_that_harden_a_training_make_its_recipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipes: list[Recipe] = []

    def observed(_splits: object, recipe: Recipe, options: TrainingOptions) -> TrainingResult:
        recipes.append(recipe)
        return TrainingResult(finished=False, plain=options.output, network=options.output)

    monkeypatch.setattr("detector.jobs.train.train", observed)
    monkeypatch.setattr("detector.data.load_splits", lambda _: None)
    command = ["train", "--data", "d", "--output", "o"]
    of_its_own = ["--robust", "--preset", "resnet20-cifar10-robust"]
    terms = ["--gate-margin", "0.1", "--copy-consistency", "0.5"]
    for options in ([], ["--robust"], of_its_own, terms):
        assert cli.run([*command, *options]) == 0
    usual, robust = recipe_of(Preset.RESNET20_CIFAR10), recipe_of(Preset.RESNET20_CIFAR10_ROBUST)
    with_terms = usual.with_gate_margin(0.1).with_copy_consistency(0.5)
    assert recipes == [usual, usual.hardened(), robust, with_terms]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["fly"], "fly"),
        (["check"], "IMAGE"),
        (["check", "--colour", "x.png"], "--colour"),
        (["check", "x.png", "--alpha", "much"], "--alpha"),
        (["check", "x.png", "--level", "deep"], "deep"),
        (["check", "x.png", "--server", "127.0.0.1:1"], "x.png"),
        (["check", "x.png", "--server", "127.0.0.1:1", "--bundle", "b"], "--bundle"),
        (["check", "x.png", "--bundle", "no/such/bundle"], "no/such/bundle"),
        (["check", "x.png", "--server", "127.0.0.1:1", "--device", "cpu"], "--device"),
        (["check", "x.png", "--device", "nonsense"], "nonsense"),
        (["demo", "--device", "nonsense"], "nonsense"),
        (["serve", "--device", "nonsense"], "nonsense"),
        (["serve", "--port", "70000"], "port"),
        (["serve", "--bundle", "no/such/bundle"], "no/such/bundle"),
        (["demo", "--per-class", "0"], "--per-class"),
        (["train", "--data", "no/such/data", "--output", "out", "--preset", "big"], "big"),
        (["train", "--data", "no/such/data", "--output", "out"], "no/such/data"),
        (["train", "--data", "d", "--output", "o", "--weights", "No.Such"], "No.Such"),
        (["train", "--data", "d", "--output", "o", "--backbone", "spine"], "spine"),
        (["cifar10", "cifar10.zip"], ".npz"),
        ([*CALIBRATE, "--alpha", "2"], "alpha"),
        ([*CALIBRATE, "--classifier", "oracle"], "oracle"),
        ([*CALIBRATE, "--guarantee", "full"], "full"),
        (CALIBRATE, "no/such/network"),
        ([*EXTRACT, "--split", "some"], "some"),
        ([*EXTRACT, "--split", "fit", "--attack", "pgd:9/0"], "pgd:9/0"),
        ([*EXTRACT, "--split", "fit"], "no/such/network"),
        ([*EXTRACT, "--split", "fit", "--device", "nonsense"], "nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_command_line_is_one_sentence_and_exit_code_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 2
    assert named in one_sentence(capsys)


def _written(kind: str, file: Path) -> Path:
    contents = {"list": [torch.zeros(1)], "tensor": torch.zeros(1), "nested": {"state_dict": {}}}
    if kind in contents:
        torch.save(contents[kind], file)
    else:
        file.write_bytes({"empty": b"", "text": b"no weights", "pickle": pickle.dumps(Path)}[kind])
    return file


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kind", ["empty", "text", "pickle", "list", "tensor", "nested"])
def test_weights_that_are_no_state_dict_are_one_sentence_and_exit_code_2(
    kind: str, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _written(kind, tmp_path / f"weights{suffix}")
    assert cli.run(["train", "--data", "d", "--output", "o", "--weights", str(file)]) == 2
    assert file.name in one_sentence(capsys)


def test_no_server_is_one_sentence_and_exit_code_2(
    tmp_path: Path, images: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(images.png())
    assert cli.run(["check", str(file), "--server", "127.0.0.1:1"]) == 2
    assert "offpath serve" in one_sentence(capsys)


@pytest.mark.parametrize("option", ["--port", "--metrics-port"])
def test_a_port_in_use_is_one_sentence_and_exit_code_2(
    option: str, bundle: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("service.server.load_bundle", lambda *_, **__: bundle)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {"--port": "0", "--metrics-port": "0", option: str(taken.getsockname()[1])}
        arguments = ["serve", *(part for pair in ports.items() for part in pair)]
        assert cli.run(arguments) == 2
    assert option in one_sentence(capsys)


@pytest.fixture
def local_bundle(bundle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.bundle.load_bundle", lambda *_, **__: bundle)


@pytest.mark.usefixtures("local_bundle")
def test_check_in_this_process_prints_a_table(
    tmp_path: Path, images: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, score in (("plain.png", 1), ("odd.png", 200)):
        (tmp_path / name).write_bytes(images.png(1, score))
    files = [str(tmp_path / name) for name in ("plain.png", "odd.png")]
    assert cli.run(["check", *files, "--layers"]) == 0
    shown = capsys.readouterr().out
    assert "on path" in shown
    assert "off path" in shown
    assert "Farthest: second 75%" in shown
    assert "Level standard: 2 passes" in shown


@pytest.mark.usefixtures("local_bundle")
def test_check_prints_json_for_programs(
    tmp_path: Path, images: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(images.png(0, 200))
    assert cli.run(["check", str(file), "--json", "--path", "--alpha", "0.04"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["image"], row["label"], row["verdict"]) == (str(file), "cat", "off path")
    assert row["alpha"] == 0.04
    assert len(row["path"][1]["open_gates"]) == 9
    assert (row["level"], row["passes"]) == ("standard", 2)


@pytest.mark.usefixtures("local_bundle")
def test_check_looks_at_the_level_that_is_asked_for(
    tmp_path: Path, images: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(images.png(0, 40))
    assert cli.run(["check", str(file), "--json", "--level", "thorough"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["level"], row["passes"], row["score"]) == ("thorough", 4, 41.0)


@pytest.mark.usefixtures("local_bundle")
@pytest.mark.parametrize(
    ("data", "options", "named"),
    [
        (b"", [], "no bytes"),
        (b"text", [], "unknown format"),
        (None, ["--alpha", "1.5"], "alpha"),
        (None, ["--level", "fast"], "fast"),
    ],
    ids=["empty", "text", "alpha", "level"],
)
def test_check_refuses_what_it_cannot_use(
    tmp_path: Path,
    images: Any,
    capsys: pytest.CaptureFixture[str],
    data: bytes | None,
    options: list[str],
    named: str,
) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(images.png() if data is None else data)
    assert cli.run(["check", str(file), *options]) == 2
    assert named in one_sentence(capsys)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of images in the calls to a server that finds all on path, and has seen drift."""
    sizes = []
    detection = Detection(
        predicted_class=0,
        label="cat",
        probability=0.9,
        score=1.0,
        p_value=0.5,
        alpha=0.05,
        level=Level.STANDARD,
        passes=2,
        verdict=Verdict.ON_PATH,
        reason="Because.",
        layers=(LayerWeight(name="first", weight=1.0),),
    )

    def detect(images: list[Path], **_: Any) -> DetectReply:
        sizes.append(len(images))
        return DetectReply(detections=(detection,) * len(images), request_id="r", bundle_digest="d")

    class FakeClient(SimpleNamespace):
        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    drift = DriftDescription(state=DriftState.FOUND, found="2020-08-23", advice="Calibrate anew.")
    client = FakeClient(detect=detect, bundle=lambda: SimpleNamespace(drift=drift))
    monkeypatch.setattr("service.client.Client", lambda *_, **__: client)
    return sizes


def test_check_says_that_a_server_has_seen_drift(
    sizes: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["check", "x.png", "--server", "h:1"]) == 0
    assert "Drift found at 2020-08-23. Calibrate anew." in capsys.readouterr().out


def test_check_asks_a_server_in_calls_of_bounded_size(
    sizes: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["check", *(["x.png"] * 70), "--server", "h:1", "--json"]) == 0
    assert sizes == [32, 32, 6]
    assert len(json.loads(capsys.readouterr().out)) == 70


@pytest.mark.parametrize(
    ("module", "extra"), [("grpc", "serve"), ("torchattacks", "lab"), ("ray", "ray")]
)
def test_a_missing_extra_is_named(
    module: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(**_: object) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(cli, "app", missing)
    assert cli.run(["serve"]) == 2
    assert f"pip install '.[{extra}]'" in one_sentence(capsys)


def test_help_does_not_wait_for_torch_and_serving_never_loads_the_attacks() -> None:
    code = (
        "import sys, service.cli\n"
        "assert not {'torch', 'grpc', 'pydantic'} & set(sys.modules)\n"
        "import service.server\n"
        "assert not [name for name in sys.modules if name.startswith('torchattacks')]\n"
        "assert not [name for name in sys.modules if name.startswith('detector.attacks')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
