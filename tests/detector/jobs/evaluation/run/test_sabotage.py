"""An evaluation that is broken on purpose fails, and its report says where."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from detector.attacks import Attack, AttackSpec
from detector.attacks.adaptive import Descent, SelectivePgd
from detector.errors import ControlError
from detector.jobs.evaluation import EvaluationReport, control_run, evaluate
from detector.jobs.evaluation.contenders import Contender
from detector.jobs.evaluation.controls import ControlName
from detector.jobs.evaluation.measured_rows import MeasuredRows
from detector.jobs.evaluation.plan import AdaptivePlan

RADII = (40 / 255, 80 / 255)
"""So wide that every attacker gets past with every image: no check is left to chance."""
ATTACKERS = AdaptivePlan(levels=("standard",), epsilons=RADII, images=10, steps=8, queries=2)
FALLS = "success does not fall as epsilon grows"


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


def lazy_in_large_balls(monkeypatch, kind: type[Descent]) -> None:
    """Attackers of this kind stay where they are as soon as they may go far."""
    search = Descent._search

    def lazy(attack, *arguments) -> None:
        if not isinstance(attack, kind) or attack.epsilon < RADII[-1]:
            search(attack, *arguments)

    monkeypatch.setattr(Descent, "_search", lazy)


def test_an_attacker_whose_success_falls_with_epsilon_is_marked_and_named(
    setting, again, monkeypatch
):
    lazy_in_large_balls(monkeypatch, SelectivePgd)
    options = replace(again, plan=replace(again.plan, adaptive=ATTACKERS), adaptive=True)
    report = evaluate(setting.splits, options)
    assert f"selective-pgd at standard: {FALLS}" in {each.name for each in report.adaptive.failed}
    for each in (*report.adaptive.points, *report.adaptive.half):
        assert each.believable is (each.attack != "selective-pgd")
    text = (again.output / "report.md").read_text("utf-8")
    assert "selective-pgd **not believed**" in text

    lazy_in_large_balls(monkeypatch, Descent)
    shutil.rmtree(again.output / "adaptive")
    with pytest.raises(ControlError, match=f"none at standard: .*guide-matching at .*: {FALLS}"):
        evaluate(setting.splits, options)
    report = EvaluationReport.read(again.output / "report.json")
    assert not any(point.believable for point in report.adaptive.points)
