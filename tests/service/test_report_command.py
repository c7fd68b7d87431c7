"""The report command, and the option of calibrate, hand over what the job needs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from detector.jobs.engines import LocalEngine
from service import cli

CALIBRATE = ["calibrate", "--table", "t", "--network", "n", "--output", "o"]


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Options of each job that was run: calibrations and reports."""
    given: list[Any] = []

    def calibrate(options: Any, *, engine: Any) -> Any:
        assert isinstance(engine, LocalEngine)
        given.append(options)
        manifest = SimpleNamespace(levels=[], digest="abc")
        return SimpleNamespace(attacks=[], dropped=[], manifest=manifest, bundle=options.output)

    def make_report(options: Any) -> str:
        given.append(options)
        return "the report"

    def write_report(report: str, folder: Path) -> Path:
        assert report == "the report"
        return folder / "calibration.html"

    monkeypatch.setattr("detector.jobs.calibrate.calibrate", calibrate)
    monkeypatch.setattr("detector.jobs.calibration_report.make_report", make_report)
    monkeypatch.setattr("detector.jobs.calibration_report.write_report", write_report)
    return given


def test_a_report_is_of_the_bundled_default_unless_another_is_named(
    handed_over: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["report", "--table", "t", "--output", "o"]) == 0
    assert cli.run(["report", "--table", "t", "--output", "o", "--bundle", "b", "--seed", "4"]) == 0
    first, second = handed_over
    assert (first.table, first.output, first.bundle) == (Path("t"), Path("o"), None)
    assert (second.bundle, second.seed) == (Path("b"), 4)
    assert capsys.readouterr().out == f"Reported: {Path('o') / 'calibration.html'}\n" * 2


def test_calibrate_reports_on_its_bundle_where_it_is_told_to(
    handed_over: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*CALIBRATE, "--seed", "3", "--report", "r"]) == 0
    calibration, report = handed_over
    assert (report.table, report.output, report.bundle) == (Path("t"), Path("r"), Path("o"))
    assert calibration.seed == report.seed == 3
    assert f"Reported: {Path('r') / 'calibration.html'}" in capsys.readouterr().out


def test_calibrate_without_the_option_reports_nothing(handed_over: list[Any]) -> None:
    assert cli.run(CALIBRATE) == 0
    assert len(handed_over) == 1


def test_a_report_within_the_bundle_is_refused_before_anything_is_calibrated(
    handed_over: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*CALIBRATE, "--report", "o/report"]) == 2
    assert handed_over == []
    assert "should lie outside of the bundle" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "option", "kind"),
    [
        (CALIBRATE, "--report", "folder"),
        (["interpret", "--table", "t", "--network", "n"], "--output", "file"),
    ],
)
def test_an_address_is_no_place_for_a_report(
    command: list[str], option: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*command, option, "s3://bucket/report"]) == 2
    assert f"{option} should be a {kind}. Found an address" in capsys.readouterr().err
