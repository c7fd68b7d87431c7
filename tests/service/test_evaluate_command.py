"""The evaluate command hands the plan and the networks over, and fails where the job fails."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from detector.errors import ControlError
from service import cli

PLAN = """
name = "mine"
attacks = ["fgsm:8/255"]
levels = ["fast"]
fusions = ["learnt"]
few_shot = []
[families]
gradient = ["fgsm"]
"""
ARGUMENTS = ["evaluate", "--data", "d", "--table", "t", "--output", "o", "--device", "cpu"]
FAILED = "joint-pgd at fast: twice the steps do not help"


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The options of each call of the job, which finds one good score and one that saw nothing."""
    given: list[Any] = []
    found = SimpleNamespace(
        name="learnt",
        mean_auroc=SimpleNamespace(value=0.98),
        worst=SimpleNamespace(attack="cw-l2", auroc=SimpleNamespace(value=0.951)),
    )
    nothing = SimpleNamespace(name="one-class", mean_auroc=None, worst=None)
    level = SimpleNamespace(level="fast", fusions=[found, nothing])
    weak = SimpleNamespace(name=FAILED, finding=".9, .2")
    attacked = SimpleNamespace(failed=[weak])

    def evaluate(_: object, options: Any, *, engine: object) -> Any:
        given.append(options)
        return SimpleNamespace(levels=[level], adaptive=attacked if options.adaptive else None)

    monkeypatch.setattr("detector.data.load_splits", lambda *_, **__: None)
    monkeypatch.setattr("detector.jobs.evaluation.evaluate", evaluate)
    return given


def test_the_bundled_default_is_evaluated_under_its_own_plan(
    handed_over: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(ARGUMENTS) == 0
    (options,) = handed_over
    assert (options.plan.name, options.bundle, options.plain) == ("cifar10-2", None, None)
    assert options.through == ()
    assert (options.table, options.output, options.device) == (Path("t"), Path("o"), "cpu")
    assert not options.adaptive
    written, warned = capsys.readouterr()
    assert "Warning" not in warned
    assert "fast, learnt: AUROC 0.980 on average, 0.951 at worst (cw-l2)" in written
    assert "one-class" not in written
    assert str(Path("o") / "report.md") in written


def test_each_attack_that_is_too_weak_is_a_line_of_warning(
    handed_over: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*ARGUMENTS, "--adaptive"]) == 0
    assert handed_over
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Warning")]
    assert lines == [f"Warning, attack not believed: {FAILED}: .9, .2"]


def test_a_plan_and_all_that_is_compared_with_can_be_given(
    handed_over: list[Any], tmp_path: Path
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    more = ["--plan", str(plan), "--adaptive", "--bundle", "b", "--released", "r.json"]
    plain = ["--plain-network", "p.safetensors", "--plain-table", "pt"]
    assert cli.run([*ARGUMENTS, *more, *plain]) == 0
    (options,) = handed_over
    assert options.plan.name == "mine"
    assert (options.bundle, options.released, options.adaptive) == (Path("b"), Path("r.json"), True)
    assert (options.plain.network, options.plain.table) == (Path("p.safetensors"), Path("pt"))


@pytest.mark.parametrize("alone", [["--plain-network", "p"], ["--plain-table", "pt"]])
def test_a_plain_network_without_its_table_is_refused(
    handed_over: list[Any], capsys: pytest.CaptureFixture[str], alone: list[str]
) -> None:
    assert cli.run([*ARGUMENTS, *alone]) == 2
    assert "should be given together" in capsys.readouterr().err
    assert not handed_over


def test_each_network_that_attacks_go_through_is_handed_over(handed_over: list[Any]) -> None:
    files = ("plain.safetensors", "other.safetensors")
    more = [part for file in files for part in ("--attack-through", file)]
    assert cli.run([*ARGUMENTS, *more]) == 0
    (options,) = handed_over
    assert options.through == tuple(Path(file) for file in files)


def test_a_network_that_no_attack_of_the_plan_goes_through_is_refused(
    handed_over: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    assert cli.run([*ARGUMENTS, "--plan", str(plan), "--attack-through", "other.safetensors"]) == 2
    written = " ".join(capsys.readouterr().err.split())
    assert "The plan mine should name attacks that are made on other networks" in written
    assert "--attack-through" in written
    assert not handed_over


def test_a_plan_that_cannot_be_read_is_refused_by_its_name(
    handed_over: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*ARGUMENTS, "--plan", "none.toml"]) == 2
    assert "none.toml should be a readable plan" in capsys.readouterr().err
    assert not handed_over


def test_a_control_that_breaks_fails_the_command(
    handed_over: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ControlError("Every control of an evaluation should hold.")

    monkeypatch.setattr("detector.jobs.evaluation.evaluate", broken)
    assert cli.run(ARGUMENTS) == 2
    assert "Every control of an evaluation should hold" in capsys.readouterr().err
