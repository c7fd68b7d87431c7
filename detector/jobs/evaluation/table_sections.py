"""The sections of the Markdown report that are not about one score."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from detector.jobs.evaluation.estimates import Estimate
from detector.jobs.evaluation.figures import ShareAtBudget
from detector.jobs.evaluation.markdown import area_text, budget_text, share_text, table
from detector.jobs.evaluation.report import EvaluationReport
from detector.jobs.evaluation.report_sections import LeftOutCell

__all__ = [
    "calibration_section",
    "controls_section",
    "few_shot_section",
    "left_out_section",
    "shift_section",
]


_T = TypeVar("_T")


def controls_section(report: EvaluationReport) -> str:
    """What the controls found."""
    rows = [
        [
            control.name,
            control.subject,
            "holds" if control.holds else "**broken**",
            _interval(control.figure, control.low, control.high),
            control.expectation,
        ]
        for control in report.controls
    ]
    return f"## Controls\n\n{table(['control', 'on', 'outcome', 'found', 'expected'], rows)}"


def left_out_section(report: EvaluationReport) -> str:
    """Areas with one family left out of fitting; the attacks of that family in bold."""
    parts = []
    for level in _distinct(cell.level for cell in report.left_out):
        cells = [cell for cell in report.left_out if cell.level == level]
        families = _distinct(cell.family for cell in cells)
        known = {(cell.attack, cell.family): cell for cell in cells}
        rows = [
            [attack, *(_cell(known.get((attack, family))) for family in families)]
            for attack in _distinct(cell.attack for cell in cells)
        ]
        worst = area_text(report.worst_left_out.get(level))
        parts.append(
            f"## {level}, one family left out of fitting\n\n"
            f"Bold: attacks of the family that was left out; the worst of them {worst}.\n\n"
            f"{table(['attack', *(f'without {family}' for family in families)], rows)}"
        )
    return "\n\n".join(parts)


def few_shot_section(report: EvaluationReport) -> str:
    """The paper's table."""
    points = report.few_shot
    if not points:
        return ""
    counts = sorted({point.images_per_class for point in points})
    known = {(p.classifier, p.attack, p.images_per_class): p.auroc for p in points}
    rows = [
        [classifier, attack, *(area_text(known.get((classifier, attack, n))) for n in counts)]
        for classifier, attack in _distinct((p.classifier, p.attack) for p in points)
    ]
    head = ["classifier on bits", "attack", *(f"{count} a class" for count in counts)]
    return f"## Few images to learn from, AUROC\n\n{table(head, rows)}"


def calibration_section(report: EvaluationReport) -> str:
    """False alarms by number of calibration images."""
    sizes = report.calibration_sizes
    if not sizes:
        return ""
    rows = [
        [str(size.images), *_shares(size.flagged), area_text(size.worst_auroc)] for size in sizes
    ]
    flagged = [f"flagged at {budget_text(each.budget)}" for each in sizes[0].flagged]
    return f"## Calibration size\n\n{table(['images', *flagged, 'worst AUROC'], rows)}"


def shift_section(report: EvaluationReport) -> str:
    """Natural changes and noise, and how often they are flagged."""
    if not report.shifts:
        return ""
    rows = [
        [
            shift.name,
            "" if shift.severity is None else str(shift.severity),
            f"{shift.level}, {shift.fusion}",
            share_text(shift.accuracy),
            *_shares(shift.flagged),
        ]
        for shift in report.shifts
    ]
    flagged = [f"flagged at {budget_text(each.budget)}" for each in report.shifts[0].flagged]
    head = ["change", "severity", "score", "accuracy", *flagged]
    return f"## Natural change and noise\n\n{table(head, rows)}"


def _cell(cell: LeftOutCell | None) -> str:
    if cell is None:
        return area_text(None)
    return f"**{area_text(cell.auroc)}**" if cell.unknown else area_text(cell.auroc)


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return area_text(None)
    return area_text(Estimate(value=value, low=low, high=high))


def _shares(shares: Iterable[ShareAtBudget]) -> list[str]:
    return [share_text(each.share) for each in shares]


def _distinct(values: Iterable[_T]) -> list[_T]:
    return list(dict.fromkeys(values))
