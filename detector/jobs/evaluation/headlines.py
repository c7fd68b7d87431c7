"""The figures of a report that its reader looks for first, each a number with a name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import fmean
from typing import NamedTuple

from detector.jobs.evaluation.adaptive_belief import strongest_attacks
from detector.jobs.evaluation.figures import ScoreFigures
from detector.jobs.evaluation.markdown import budget_text
from detector.jobs.evaluation.report import EvaluationReport
from detector.jobs.evaluation.report_sections import ShiftFigures

__all__ = ["Headline", "headlines"]

_MILD = 2
"""Highest severity at which a corruption should not yet be called an attack."""


class Headline(NamedTuple):
    """One figure.

    Args:
        name: What it is, the same in every report of a plan.
        value: The figure; shares and areas are both in [0, 1].
    """

    name: str
    value: float


def headlines(report: EvaluationReport) -> tuple[Headline, ...]:
    """The figures of a report, in its order; those that it does not have are left out.

    Args:
        report: The report.
    """
    return tuple(_all(report))


def _all(report: EvaluationReport) -> Iterator[Headline]:
    yield Headline("accuracy", report.accuracy.rate)
    if report.plain_network is not None:
        lost = report.plain_network.accuracy.rate - report.accuracy.rate
        yield Headline("accuracy, lost against the plain network", lost)
    yield from _scores(report)
    for name, worst in report.worst_left_out.items():
        yield Headline(f"{name}: worst AUROC, family left out", worst.value)
    for point in report.few_shot:
        name = f"{point.classifier} on {point.images_per_class} a class: AUROC, {point.attack}"
        yield Headline(name, point.auroc.value)
    yield from _shifts(report.shifts)
    if report.adaptive is not None:
        for strongest in strongest_attacks(report.adaptive.points).values():
            name = (
                f"{strongest.level}: strongest who knows the detector, epsilon "
                f"{strongest.epsilon:.4f}, success at {budget_text(strongest.budget)}"
            )
            yield Headline(name, strongest.success.rate)


def _scores(report: EvaluationReport) -> Iterator[Headline]:
    for level in report.levels:
        for fusion in level.fusions:
            yield from _score(f"{level.level}, {fusion.name}", fusion)
    for other, transfer in enumerate(report.transfer, 1):
        for score in transfer.scores:
            yield from _areas(f"transfer from network {other}, {score.name}", score)
    for baseline in report.baselines:
        yield from _areas(baseline.name, baseline, each_attack=False)


def _score(title: str, score: ScoreFigures) -> Iterator[Headline]:
    yield from _areas(title, score)
    for found in score.mean_found:
        if found.estimate is not None:
            name = f"{title}: found at {budget_text(found.budget)}, mean"
            yield Headline(name, found.estimate.value)
    for alarms in score.false_alarms:
        name = f"{title}: false alarms at {budget_text(alarms.budget)}"
        yield Headline(name, alarms.pooled.rate)
        rates = [each.flagged.rate for each in alarms.classes if each.flagged is not None]
        if rates:
            yield Headline(f"{name}, worst class", max(rates))


def _areas(title: str, score: ScoreFigures, *, each_attack: bool = True) -> Iterator[Headline]:
    if score.worst is not None:
        yield Headline(f"{title}: worst AUROC", score.worst.auroc.value)
    if score.mean_auroc is not None:
        yield Headline(f"{title}: mean AUROC", score.mean_auroc.value)
    for attack in score.attacks if each_attack else ():
        if attack.detection is not None:
            # What a transfer was made on stands in the label's end, and differs by report.
            name = f"{title}: AUROC, {attack.attack.partition('@')[0]}"
            yield Headline(name, attack.detection.auroc.value)


def _shifts(shifts: Iterable[ShiftFigures]) -> Iterator[Headline]:
    mild: dict[str, list[float]] = {}
    for shift in shifts:
        for budget, rate in _flagged(shift):
            score = f"{shift.level}, {shift.fusion}"
            if shift.severity is None:
                yield Headline(f"{score}: {shift.name} flagged at {budget_text(budget)}", rate)
            elif shift.severity <= _MILD:
                name = f"{score}: mild corruptions flagged at {budget_text(budget)}, mean"
                mild.setdefault(name, []).append(rate)
    for name, rates in mild.items():
        yield Headline(name, fmean(rates))


def _flagged(shift: ShiftFigures) -> Iterator[tuple[float, float]]:
    for flagged in shift.flagged:
        if flagged.share is not None:
            yield flagged.budget, flagged.share.rate
