"""The sweep command asks the job for what its options say, and shows what it found."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.decoupling.recipes import Preset, Recipe, recipe_of
from detector.jobs.sparsity_sweep import STANDARD_SHARES, SweepOptions, SweepReport
from detector.jobs.sparsity_sweep.words import cost_table, detection_table, time_table
from service import cli
from tests.detector.jobs.sparsity_sweep.sample_sweep import sample_sweep

SWEEP = ["sweep", "--data", "d.npz", "--output", "o", "--device", "cpu"]


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Recipe, SweepOptions]]:
    """What the job is asked for; it finds the sample."""
    found: list[tuple[Recipe, SweepOptions]] = []

    def observed(_splits: object, recipe: Recipe, options: SweepOptions) -> SweepReport:
        found.append((recipe, options))
        return sample_sweep()

    monkeypatch.setattr("detector.jobs.sparsity_sweep.sweep", observed)
    monkeypatch.setattr("detector.data.load_splits", lambda _: None)
    return found


def test_without_options_the_standard_shares_of_the_standard_recipe_are_swept(
    asked: list[tuple[Recipe, SweepOptions]],
) -> None:
    assert cli.run(SWEEP) == 0
    ((recipe, options),) = asked
    assert recipe == recipe_of(Preset.RESNET20_CIFAR10)
    assert options.shares == STANDARD_SHARES
    assert (options.device, options.training.output) == ("cpu", Path("o"))
    assert (options.training.precision, options.training.compiled) == ("no", False)
    assert options.training.initial_weights is None


def test_options_reach_the_job(asked: list[tuple[Recipe, SweepOptions]]) -> None:
    shares = ["--open-share", "1", "--open-share", "0.25"]
    of_training = ["--decoupled-epochs", "3", "--settled-epochs", "2", "--seed", "7", "--bf16"]
    of_training += ["--batch-size", "256"]
    preset = ["--preset", "wide-resnet8-cifar10", "--compile"]
    assert cli.run([*SWEEP, *shares, *of_training, *preset]) == 0
    ((recipe, options),) = asked
    wide = recipe_of(Preset.WIDE_RESNET8_CIFAR10)
    shorter = wide.shortened(decoupled_epochs=3, settled_epochs=2)
    assert recipe == shorter.with_batch_size(256)
    assert options.shares == (1.0, 0.25)
    assert (options.training.seed, options.training.precision) == (7, "bf16")
    assert options.training.compiled


def test_all_figures_are_shown(
    asked: list[tuple[Recipe, SweepOptions]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(SWEEP) == 0
    shown = capsys.readouterr().out
    for _, rows in (table(sample_sweep()) for table in (cost_table, time_table, detection_table)):
        assert all(cell in shown for row in rows for cell in row)
    assert "Swept: o/sweep.json and o/sweep.html" in shown


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--open-share", "1.5"], "should lie in [0, 1]. Found 1.5"),
        (["--open-share", "nan"], "should lie in [0, 1]. Found nan"),
        (["--open-share", "0.5", "--open-share", "0.5"], "asked for once. Found 0.5 2 times"),
        (["--preset", "other"], "--preset should be one of"),
        (["--weights", "nothing.safetensors"], "nothing.safetensors"),
        (["--output", "s3://bucket"], "--output should be a folder. Found an address"),
        ([], "d.npz"),
    ],
)
def test_what_cannot_be_swept_is_one_sentence(
    options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*SWEEP, *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert told in captured.err
    assert "Traceback" not in captured.err
