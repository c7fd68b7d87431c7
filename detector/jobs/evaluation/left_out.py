"""How well attacks are found by scores that were fitted without their family."""

from __future__ import annotations

import torch

from detector.attacks import AttackSpec
from detector.jobs.evaluation.contenders import Contender
from detector.jobs.evaluation.measure import AttackedImages, measure_score
from detector.jobs.evaluation.measured_rows import MeasuredRows
from detector.jobs.evaluation.plan import EvaluationPlan
from detector.jobs.evaluation.report_sections import LeftOutCell
from detector.jobs.evaluation.subject import Subject
from detector.jobs.fit_rows import Kind

__all__ = ["left_out_cells"]


def left_out_cells(
    subject: Subject,
    plan: EvaluationPlan,
    test: MeasuredRows,
) -> tuple[LeftOutCell, ...]:
    """Fit what learns from attacks again without each family, and look at all attacks.

    Scores that see no attack in fitting have no such cells: every attack is unknown to them. Nor
    has a family without which no attack is left to learn from.

    Args:
        subject: What is evaluated.
        plan: Its families.
        test: Test images.
    """
    cells: list[LeftOutCell] = []
    for contender in subject.contenders:
        fit = subject.recipe.fit(contender.fusion)
        if not fit.learns_attacks:
            continue
        for family in plan.left_out():
            fitted = _without(subject, plan, family)
            rows = subject.ground.measured.fit[fitted]
            if not rows.teaches(attacks=True):
                continue
            again = subject.ground.contender(
                contender.fusion, contender.level.name, contender.level.copies, fit, fitted=fitted
            )
            cells += _cells(again, family, plan, test)
    return tuple(cells)


def _without(subject: Subject, plan: EvaluationPlan, family: str) -> torch.Tensor:
    """Which fit rows are of no attack of a family."""
    rows = subject.ground.measured.fit
    members = plan.families[family]
    kept = torch.tensor(
        [
            kind is not Kind.ATTACK or AttackSpec.parse(label).name not in members
            for label, kind in zip(rows.labels, rows.kinds, strict=True)
        ]
    )
    return kept[rows.parts]


def _cells(
    contender: Contender,
    family: str,
    plan: EvaluationPlan,
    test: MeasuredRows,
) -> list[LeftOutCell]:
    found = measure_score(
        contender.name,
        calibration=contender.scores(contender.ground.calibration),
        negatives=contender.scores(test.others),
        attacked=[
            AttackedImages(
                attack=each.attack,
                scores=contender.scores(each),
                right_before=each.right_before,
                success=each.success,
            )
            for each in test.attacked
        ],
        resamples=test.resamples,
        budgets=plan.budgets[:1],
        confidence=plan.confidence,
    )
    return [
        LeftOutCell(
            level=contender.name,
            family=family,
            attack=each.attack,
            unknown=plan.family(each.attack) == family,
            auroc=None if each.detection is None else each.detection.auroc,
        )
        for each in found.attacks
    ]
