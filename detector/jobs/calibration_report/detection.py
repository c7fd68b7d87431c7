"""How well a level finds attacks, whom it blames without cause, and what fewer images do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.jobs.calibration_report.bench import Bench
from detector.jobs.calibration_report.judge import Panel
from detector.jobs.calibration_report.sections import HarmlessFigures, LevelReport
from detector.jobs.evaluation.bootstrap import Resamples
from detector.jobs.evaluation.estimates import Share
from detector.jobs.evaluation.false_alarms import FalseAlarms, false_alarms
from detector.jobs.evaluation.figures import ScoreFigures, ShareAtBudget
from detector.jobs.evaluation.measure import AttackedImages, measure_score
from detector.jobs.evaluation.measured_images import MeasuredImages

__all__ = ["level_report"]

_REPLICATES: Final = 1000


def level_report(
    bench: Bench, name: str, class_names: tuple[str, ...], budgets: Sequence[float], *, seed: int
) -> LevelReport:
    """All figures of one level.

    Args:
        bench: Its judges.
        name: Its name.
        class_names: Name of each class.
        budgets: False-alarm budgets, each in (0, 1).
        seed: Seed of the resamples.
    """
    return LevelReport(
        level=name,
        score=_score(bench, name, class_names, budgets, seed),
        harmless=tuple(
            HarmlessFigures(name=each.attack, flagged=_flagged(bench.attacked, each, budgets))
            for each in bench.rows.attacked.harmless
        ),
    )


def _score(
    bench: Bench, name: str, class_names: tuple[str, ...], budgets: Sequence[float], seed: int
) -> ScoreFigures:
    rows = bench.rows
    attacked = rows.attacked.attacked
    return measure_score(
        name,
        calibration=bench.shipped.judge(rows.calibration).places(),
        negatives=bench.clean.judge(rows.negatives).places(),
        attacked=[_attacked(bench.attacked, each, budgets) for each in attacked],
        resamples=Resamples(
            negatives=len(rows.negatives),
            images=max((len(each) for each in attacked), default=1),
            replicates=_REPLICATES,
            seed=seed,
        ),
        budgets=budgets,
        false_alarms=[
            _false_alarms(rows.clean, flags, class_names, budget)
            for budget, flags in bench.false_alarms(budgets).items()
        ],
    )


def _attacked(panel: Panel, images: MeasuredImages, budgets: Sequence[float]) -> AttackedImages:
    judged = panel.judge(images)
    return AttackedImages(
        attack=images.attack,
        scores=judged.places(),
        right_before=images.right_before,
        success=images.success,
        flags=judged.flags(budgets),
    )


def _flagged(
    panel: Panel, images: MeasuredImages, budgets: Sequence[float]
) -> tuple[ShareAtBudget, ...]:
    flags = panel.judge(images).flags(budgets)
    return tuple(
        ShareAtBudget(
            budget=budget, share=Share.of_flags(flags[budget]) if budget in flags else None
        )
        for budget in budgets
    )


def _false_alarms(
    clean: MeasuredImages, flags: NDArray[np.bool_], class_names: tuple[str, ...], budget: float
) -> FalseAlarms:
    return false_alarms(
        flags=flags,
        predicted=clean.predicted,
        labels=clean.labels,
        class_names=class_names,
        budget=budget,
    )
