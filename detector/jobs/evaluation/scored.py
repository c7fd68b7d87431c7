"""Figures of fused scores and of baselines, from what they say about test images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detector.jobs.evaluation.contenders import Contender
from detector.jobs.evaluation.false_alarms import FalseAlarms, false_alarms
from detector.jobs.evaluation.figures import ScoreFigures
from detector.jobs.evaluation.measure import AttackedImages, measure_score
from detector.jobs.evaluation.measured_images import MeasuredImages
from detector.jobs.evaluation.measured_rows import MeasuredRows
from detector.jobs.evaluation.plan import EvaluationPlan
from detector.jobs.evaluation.subject import Subject

__all__ = ["baseline_figures", "contender_figures", "detection_figures"]


def contender_figures(
    contender: Contender,
    test: MeasuredRows,
    plan: EvaluationPlan,
    class_names: tuple[str, ...],
    *,
    name: str | None = None,
) -> ScoreFigures:
    """All figures of a fused score, false alarms included.

    Args:
        contender: The score.
        test: Test images.
        plan: Budgets and intervals.
        class_names: Name of each class.
        name: As the report calls it; by default as its fusion.
    """
    return detection_figures(
        name or contender.fusion.value,
        contender,
        test.attacked,
        test,
        plan,
        false_alarms=[
            _false_alarms(test.clean, flags, plan, class_names, budget)
            for budget, flags in contender.flags(test.clean, plan.budgets).items()
        ],
    )


def detection_figures(
    name: str,
    contender: Contender,
    attacked: Sequence[MeasuredImages],
    test: MeasuredRows,
    plan: EvaluationPlan,
    *,
    false_alarms: Sequence[FalseAlarms] = (),
) -> ScoreFigures:
    """Figures of a fused score under some attacks.

    Args:
        name: As the report calls it.
        contender: The score.
        attacked: The attacked test images, after each attack.
        test: Test images, for the negatives and the resamples.
        plan: Budgets and intervals.
        false_alarms: Its false alarms, where the report does not have them elsewhere.
    """
    return measure_score(
        name,
        calibration=contender.scores(contender.ground.calibration),
        negatives=contender.scores(test.others),
        attacked=[
            _attacked(each, contender.scores(each), contender.flags(each, plan.budgets))
            for each in attacked
        ],
        resamples=test.resamples,
        budgets=plan.budgets,
        false_alarms=false_alarms,
        confidence=plan.confidence,
    )


def baseline_figures(
    name: str, subject: Subject, test: MeasuredRows, plan: EvaluationPlan
) -> ScoreFigures:
    """All figures of a baseline; it ships nowhere, so that it promises nothing.

    Args:
        name: The baseline.
        subject: What it was fitted beside.
        test: Test images.
        plan: Budgets and intervals.
    """
    return measure_score(
        name,
        calibration=subject.ground.calibration.baselines[name],
        negatives=test.others.baselines[name],
        attacked=[_attacked(each, each.baselines[name], {}) for each in test.attacked],
        resamples=test.resamples,
        budgets=plan.budgets,
        confidence=plan.confidence,
    )


def _attacked(
    measured: MeasuredImages, scores: NDArray[np.float64], flags: dict[float, NDArray[np.bool_]]
) -> AttackedImages:
    return AttackedImages(
        attack=measured.attack,
        scores=scores,
        right_before=measured.right_before,
        success=measured.success,
        flags=flags,
    )


def _false_alarms(
    clean: MeasuredImages,
    flags: NDArray[np.bool_],
    plan: EvaluationPlan,
    class_names: tuple[str, ...],
    budget: float,
) -> FalseAlarms:
    return false_alarms(
        flags=flags,
        predicted=clean.predicted,
        labels=clean.labels,
        class_names=class_names,
        budget=budget,
        confidence=plan.confidence,
    )
