"""How often the score that ships flags noise and corruptions, which mean no harm."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from detector.attacks import AttackSpec
from detector.jobs.evaluation.contenders import Contender
from detector.jobs.evaluation.estimates import Share
from detector.jobs.evaluation.figures import ShareAtBudget
from detector.jobs.evaluation.measured_images import MeasuredImages, measure_images
from detector.jobs.evaluation.measured_rows import MeasuredRows
from detector.jobs.evaluation.plan import EvaluationPlan
from detector.jobs.evaluation.report_sections import ShiftFigures
from detector.path_table import PathTable, SplitName
from detector.scoring import Statistics

__all__ = ["shift_figures"]


def shift_figures(
    contender: Contender, test: MeasuredRows, rows: PathTable, plan: EvaluationPlan
) -> Iterator[ShiftFigures]:
    """Flag rates of noise, then of each corruption at each severity.

    Args:
        contender: The score that ships.
        test: Noisy test images.
        rows: Corrupted ones, with the copies that this score looks at.
        plan: Which corruptions.

    Raises:
        DataError: If a corruption is not among the rows.
    """
    for noisy in test.noisy:
        yield _shift(contender, noisy, plan, noisy.attack, None)
    for spec in plan.corruption_specs:
        corrupted = _corrupted(contender, rows, spec, plan.shift_images)
        severity = int(dict(spec.options)["severity"])
        yield _shift(contender, corrupted, plan, spec.name.value, severity)


def _corrupted(
    contender: Contender, rows: PathTable, spec: AttackSpec, limit: int
) -> MeasuredImages:
    """Corrupted images come with the copies of one level alone: nothing else is known of them."""
    widest = contender.ground.widest
    narrow = Statistics(widest.path_scores, contender.level.copies)
    measured = measure_images(rows, SplitName.TEST, spec.label, statistics=narrow, limit=limit)
    wide = torch.full((len(measured), len(widest.names)), torch.nan)
    wide[:, contender.columns] = measured.statistics
    return measured.with_statistics(wide)


def _shift(
    contender: Contender,
    measured: MeasuredImages,
    plan: EvaluationPlan,
    name: str,
    severity: int | None,
) -> ShiftFigures:
    right = measured.predicted == measured.labels
    return ShiftFigures(
        name=name,
        severity=severity,
        level=contender.level.name.value,
        fusion=contender.fusion.value,
        accuracy=Share.of(int(right.sum()), len(right)),
        flagged=tuple(
            ShareAtBudget(budget=budget, share=Share.of_flags(flags, confidence=plan.confidence))
            for budget, flags in contender.flags(measured, plan.budgets).items()
        ),
    )
