"""The interpret command hands options over, shows what was found, and tells stories of images."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from detector.jobs.evaluation.estimates import Estimate, Share
from detector.jobs.interpretation import Interpretation
from detector.jobs.interpretation.class_distances import ClassDistances, Merge
from detector.jobs.interpretation.class_rates import LayerGates
from detector.jobs.interpretation.closing import Closing
from detector.jobs.interpretation.combinations import CheckedRule, Combination, RuleGate
from detector.jobs.interpretation.dissection import Dissection, PlacedFilter, PlacedRule
from detector.jobs.interpretation.embedding import Embedding
from detector.jobs.interpretation.pixel_rules import Cover
from detector.jobs.interpretation.probes import LayerProbe, Probes
from detector.path_table import SplitName
from service import cli
from service.interpretation_tables import interpretation_lines

ARGUMENTS = ["interpret", "--table", "t", "--network", "n", "--output", "o.json"]


def probe(layer: str) -> LayerProbe:
    return LayerProbe(
        layer=layer,
        gates=16,
        paths=7,
        accuracy=Share.of(60, 100),
        at_most=0.64,
        from_logits=Share.of(83, 100),
        information=Estimate(value=0.75, low=0.7, high=0.8),
        control=Share.of(51, 100),
    )


def rule(*states: bool) -> CheckedRule:
    gates = tuple(
        RuleGate(layer="late", filter=place, is_open=state) for place, state in enumerate(states)
    )
    return CheckedRule(
        gates=gates,
        at_least=max(1, len(states) - 1),
        recall=Share.of(90, 100),
        specificity=Share.of(70 + 10 * len(states), 100),
        precision=None,
        balanced_accuracy=Estimate(
            value=0.8 + 0.05 * len(states), low=0.78 + 0.05 * len(states), high=0.95
        ),
    )


def placed(iou: float, *places: tuple[str, int]) -> PlacedRule:
    return PlacedRule(
        filters=tuple(
            PlacedFilter(layer=layer, filter=place, top_share=0.05, threshold=0.5)
            for layer, place in places
        ),
        at_least=len(places),
        cover=Cover(
            iou=Estimate(value=iou, low=iou - 0.1, high=iou + 0.1),
            precision=None,
            recall=Estimate(value=0.8, low=0.7, high=0.9),
        ),
    )


FOUND = Interpretation(
    network="a1",
    class_names=("cat", "dog"),
    learn_split="train",
    learn_images=200,
    check_split="calibration",
    check_images=100,
    rate_images=200,
    gates=(
        LayerGates(
            layer="late", always_open=3, always_closed=2, input_dependent=11, open_share=0.5
        ),
    ),
    distances=(
        ClassDistances(
            layer="all layers",
            differing=((0.1, 0.2), (0.2, 0.1)),
            divergence=((0.0, 4.25), (4.25, 0.0)),
            shuffled_divergence=0.125,
            order=(0, 1),
            merges=(Merge(first=(0,), second=(1,), divergence=4.25),),
        ),
    ),
    probes=Probes(
        network=Share.of(91, 100),
        chance=0.5,
        class_entropy=0.69,
        layers=(probe("late"),),
        path=probe("whole path"),
    ),
    embedding=Embedding(image_ids=(), labels=(), layers=()),
    combinations=(
        Combination(
            concept="cat", members=100, combination=rule(True, False, True), single=rule(True)
        ),
    ),
    closings=(
        Closing(
            concept="cat",
            gates=rule(True).gates,
            images=100,
            others=100,
            harm=Estimate(value=0.02, low=0.0, high=0.04),
            harm_to_others=Estimate(value=0.01, low=0.0, high=0.02),
            random_harm=Estimate(value=0.01, low=0.0, high=0.02),
            draws=20,
            ratio=2.0,
            beyond=Estimate(value=-0.03, low=-0.1, high=0.03),
        ),
    ),
    dissections=(
        Dissection(
            concept="wheel",
            learn_images=20,
            check_images=20,
            having=9,
            combination=placed(0.6, ("early", 3), ("late", 7)),
            singles=(placed(0.4, ("early", 3)),),
            gain=Estimate(value=0.2, low=0.1, high=0.3),
        ),
    ),
)


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What each call of the job was given."""
    given: list[Any] = []

    def interpret(table: Any, network: Any, options: Any, *, splits: Any) -> Interpretation:
        given.append((table, network, options, splits))
        return FOUND

    network = SimpleNamespace(to=lambda device: f"network on {device}")
    info = SimpleNamespace(preprocessing="side")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("detector.weights.load_network", lambda _: (network, info))
    monkeypatch.setattr("detector.path_table.PathTable", lambda folder: f"table in {folder}")
    monkeypatch.setattr(
        "detector.data.load_splits", lambda path, preprocessing: f"{path} at {preprocessing}"
    )
    monkeypatch.setattr("detector.jobs.interpretation.interpret", interpret)
    return given


def test_a_network_is_interpreted_with_the_options_and_written(
    handed_over: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--data", "d.npz", "--check", "test", "--group", "pet=cat,dog", "--device", "cpu"]
    more += [
        "--concepts",
        "c.csv",
        "--masks",
        "m.csv",
        "--limit",
        "50",
        *("--layer", "late", "--layer", "early"),
        "--most-gates",
        "4",
        "--seed",
        "9",
    ]
    assert cli.run([*ARGUMENTS, *more]) == 0
    ((table, network, options, splits),) = handed_over
    assert (table, network, splits) == ("table in t", "network on cpu", "d.npz at side")
    assert (options.learn, options.check) == (SplitName.TRAIN, SplitName.TEST)
    assert (options.groups, options.concepts) == (("pet=cat,dog",), Path("c.csv"))
    assert (options.masks, options.layers) == (Path("m.csv"), ("late", "early"))
    assert (options.limit, options.most_gates, options.seed) == (50, 4, 9)
    assert Interpretation.read(Path("o.json")) == FOUND
    assert Path("o.html").read_text().startswith("<!DOCTYPE html>")
    assert "Interpreted: o.json and o.html" in capsys.readouterr().out


def test_without_data_no_gates_are_closed(handed_over: list[Any]) -> None:
    assert cli.run(ARGUMENTS) == 0
    assert handed_over[0][3] is None


def test_what_was_found_is_shown_part_by_part(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    for line in interpretation_lines(FOUND):
        console.print(line)
    shown = capsys.readouterr().out
    assert "0.75 [0.70, 0.80]" in shown
    assert "4.25 nats  cat | dog" in shown
    assert "cat: at least 2 of late:0 open, late:1 closed, late:2 open" in shown
    assert "95.0 [93.0, 95.0]" in shown
    assert "Less than 5 times what random gates of the same layers cost: cat." in shown
    assert re.search(r"wheel +2 +60.0 \[50.0, 70.0\] +- +80.0 \[.*\] +40.0 \[.*\] +yes", shown)
    assert "wheel: early:3 and late:7" in shown


def test_images_tell_their_stories_beside_the_first(
    bundle_folder: Path, images: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean, twin, output = (tmp_path / name for name in ("clean.png", "twin.png", "told.json"))
    clean.write_bytes(images.png(0, 0))
    twin.write_bytes(images.png(1, 90))
    arguments = ["interpret", str(clean), str(twin), "--bundle", str(bundle_folder)]
    assert cli.run([*arguments, "--output", str(output), "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert f"{clean}: " in shown
    assert "Nearest clean paths: " in shown
    first, second = json.loads(output.read_text())
    assert (first["image"], second["image"]) == (str(clean), str(twin))
    assert {layer["differing"] for layer in first["layers"]} == {None}
    assert all(isinstance(layer["differing"], int) for layer in second["layers"])
    page = output.with_suffix(".html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("data:image/png;base64,") == 2  # without --data none of its neighbours


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["interpret"], "--table, --network and --output"),
        (["interpret", "--table", "t", "--network", "n"], "--output"),
        (["interpret", "x.png", "--table", "t"], "without --table"),
        (["interpret", "x.png", "--masks", "m.csv"], "--masks and"),
        (["interpret", "x.png", "--layer", "late"], "and --layer"),
        ([*ARGUMENTS, "--check", "other"], "--check should be one of"),
        ([*ARGUMENTS, "--check", "train"], "another split"),
        ([*ARGUMENTS[:-1], "o.html"], "should be a JSON file"),
    ],
)
def test_what_cannot_be_interpreted_is_one_sentence(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert told in captured.err


def test_an_image_that_is_none_is_named(
    bundle_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "none.png"
    assert cli.run(["interpret", str(path), "--bundle", str(bundle_folder)]) == 2
    assert str(path) in capsys.readouterr().err
