"""How well attacks are found by scores that were fitted without their family."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from detector.attacks import AttackSpec
from detector.jobs.evaluation.bootstrap import Resamples
from detector.jobs.evaluation.contenders import Contender
from detector.jobs.evaluation.measure import AttackedImages, measure_score
from detector.jobs.evaluation.measured_images import MeasuredImages
from detector.jobs.evaluation.plan import EvaluationPlan
from detector.jobs.evaluation.report_sections import LeftOutCell
from detector.jobs.evaluation.subject import Subject
from detector.jobs.fit_rows import Kind
from detector.jobs.fusions import fusion_fit
from detector.scoring.classifiers import ClassifierName

__all__ = ["left_out_cells"]


def left_out_cells(
    subject: Subject,
    plan: EvaluationPlan,
    others: MeasuredImages,
    attacked: Sequence[MeasuredImages],
    resamples: Resamples,
) -> tuple[LeftOutCell, ...]:
    """Fit what learns from attacks again without each family, and look at all attacks.

    Scores that see no attack in fitting have no such cells: every attack is unknown to them.

    Args:
        subject: What is evaluated.
        plan: Its families.
        others: Clean test images that were not attacked.
        attacked: Attacked test images.
        resamples: What all scores of the run share.
    """
    cells: list[LeftOutCell] = []
    for contender in subject.contenders:
        fit = fusion_fit(contender.fusion, ClassifierName.GRADIENT_BOOSTING)
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
            cells += _cells(again, family, plan, others, attacked, resamples)
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
    others: MeasuredImages,
    attacked: Sequence[MeasuredImages],
    resamples: Resamples,
) -> list[LeftOutCell]:
    found = measure_score(
        contender.name,
        calibration=contender.scores(contender.ground.calibration),
        negatives=contender.scores(others),
        attacked=[
            AttackedImages(
                attack=each.attack,
                scores=contender.scores(each),
                right_before=each.right_before,
                success=each.success,
            )
            for each in attacked
        ],
        resamples=resamples,
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
