"""An evaluation that is broken on purpose fails, and its report says where."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from detector.attacks import Attack, AttackSpec
from detector.errors import ControlError
from detector.jobs.evaluation import EvaluationReport, control_run, evaluate
from detector.jobs.evaluation.contenders import Contender
from detector.jobs.evaluation.controls import ControlName
from detector.jobs.evaluation.measured_rows import MeasuredRows


def ignored_epsilon(monkeypatch) -> None:
    """The attack of no strength is a strong one."""
    build = AttackSpec.build

    def strong(spec: AttackSpec) -> Attack:
        return build(AttackSpec.parse("pgd:8/255") if spec.label == "pgd:0" else spec)

    monkeypatch.setattr(AttackSpec, "build", strong)


def told_scores(monkeypatch) -> None:
    """Scores see in which part of the table a row lies."""
    scores = Contender.scores

    def told(contender: Contender, images):
        return scores(contender, images) + 5.0 * (images.attack != "clean")

    monkeypatch.setattr(Contender, "scores", told)


def unshuffled_labels(monkeypatch) -> None:
    monkeypatch.setattr(control_run, "shuffled", lambda attacked, *, seed: attacked)


def lost_noise(monkeypatch) -> None:
    """One of the three kinds of noise is not measured."""
    found = MeasuredRows.of

    def lost(*arguments):
        rows = found(*arguments)
        return replace(rows, noisy=rows.noisy[:-1])

    monkeypatch.setattr(MeasuredRows, "of", lost)


def dropped_noise_control(monkeypatch) -> None:
    monkeypatch.setattr(control_run, "noise_control", lambda *_, **__: ())


@pytest.mark.parametrize(
    ("sabotage", "broken", "message"),
    [
        (ignored_epsilon, {ControlName.NULL, ControlName.IDENTITY}, "null .*identity"),
        (told_scores, {ControlName.NULL, ControlName.IDENTITY}, "null .*identity"),
        (unshuffled_labels, {ControlName.SHUFFLE}, "label-shuffle .*expected an AUROC of 0.5"),
        (lost_noise, {ControlName.SIGN_NOISE}, "noise-sign .*found nothing"),
        (dropped_noise_control, set(), "noise-gaussian: it was not run"),
    ],
)
def test_a_control_that_is_broken_on_purpose_fails_the_run_after_its_report(
    setting, again, monkeypatch, sabotage, broken, message
):
    if sabotage is ignored_epsilon:
        shutil.rmtree(again.output / "paths")
    sabotage(monkeypatch)
    with pytest.raises(ControlError, match=message):
        evaluate(setting.splits, again)
    report = EvaluationReport.read(again.output / "report.json")
    assert {control.name for control in report.controls if not control.holds} == broken
    text = (again.output / "report.md").read_text("utf-8")
    assert text.count("**broken**") == len(broken)
