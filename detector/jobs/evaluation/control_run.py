"""Runs the controls of an evaluation on everything that it evaluates."""

from __future__ import annotations

import numpy as np

from detector.jobs.evaluation.contenders import Contender
from detector.jobs.evaluation.controls import (
    ControlResult,
    identity_control,
    noise_control,
    null_control,
    shuffle_control,
    shuffled,
)
from detector.jobs.evaluation.estimates import Share
from detector.jobs.evaluation.measured_rows import MeasuredRows
from detector.jobs.evaluation.plan import EvaluationPlan
from detector.jobs.evaluation.subject import Subject

__all__ = ["run_controls"]


def run_controls(
    subject: Subject, test: MeasuredRows, plan: EvaluationPlan, *, network: str = ""
) -> tuple[ControlResult, ...]:
    """Run every control on each fused score.

    Args:
        subject: The scores.
        test: Test images as they see them.
        plan: What is evaluated; noise is counted at its first budget.
        network: Which network the scores are of, where it is not the bundle's.
    """
    return tuple(
        result
        for contender in subject.contenders
        for result in _of_contender(contender, test, plan, f"{network}{contender.name}")
    )


def _of_contender(
    contender: Contender, test: MeasuredRows, plan: EvaluationPlan, name: str
) -> tuple[ControlResult, ...]:
    before = contender.scores(test.clean)[test.attacked_places]
    after = contender.scores(test.null)
    return (
        null_control(contender.scores(test.others), after, subject=name, seed=plan.seed),
        identity_control(before, after, subject=name),
        _shuffle(contender, test, plan, name),
        *_noise(contender, test, plan, name),
    )


def _shuffle(
    contender: Contender, test: MeasuredRows, plan: EvaluationPlan, name: str
) -> ControlResult:
    negatives = contender.scores(test.others)
    found = [contender.scores(each)[each.success] for each in test.attacked]
    scores = np.concatenate([negatives, *found])
    called = shuffled(np.arange(len(scores)) >= len(negatives), seed=plan.seed)
    return shuffle_control(scores, called, subject=name, seed=plan.seed)


def _noise(
    contender: Contender, test: MeasuredRows, plan: EvaluationPlan, name: str
) -> tuple[ControlResult, ...]:
    budget = plan.budgets[0]
    flagged: dict[str, Share] = {}
    for each in test.noisy:
        for flags in contender.flags(each, [budget]).values():
            flagged[each.attack] = Share.of(int(flags.sum()), len(flags))
    return noise_control(flagged, subject=f"{name} at {budget:g}")
