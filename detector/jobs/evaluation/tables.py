"""The report as Markdown, for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detector.jobs.evaluation.adaptive_section import adaptive_section
from detector.jobs.evaluation.compared_sections import (
    baselines_section,
    budgets_of,
    plain_section,
    transfer_section,
    worst_text,
)
from detector.jobs.evaluation.figures import AttackFigures, ScoreFigures, ShareAtBudget
from detector.jobs.evaluation.markdown import area_text, budget_text, share_text, table
from detector.jobs.evaluation.report import EvaluationReport
from detector.jobs.evaluation.table_sections import (
    calibration_section,
    controls_section,
    few_shot_section,
    left_out_section,
    shift_section,
)
from detector.storage import atomic_path

__all__ = ["report_markdown", "write_tables"]


def write_tables(report: EvaluationReport, path: Path) -> None:
    """Write the report as Markdown, whole or not at all.

    Args:
        report: The report.
        path: Where to, as ``report.md``.

    Raises:
        StorageError: If the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(report_markdown(report), "utf-8")


def report_markdown(report: EvaluationReport) -> str:
    """The report as Markdown; sections that were not measured are left out.

    Args:
        report: The report.
    """
    sections = [
        _head(report),
        controls_section(report),
        _levels(report),
        *(
            _score(f"{level.level}, {fusion.name}", fusion)
            for level in report.levels
            for fusion in level.fusions
        ),
        transfer_section(report),
        baselines_section(report),
        plain_section(report),
        left_out_section(report),
        few_shot_section(report),
        calibration_section(report),
        shift_section(report),
        adaptive_section(report),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(report: EvaluationReport) -> str:
    return (
        f"# Evaluation {report.plan_name}\n\n"
        f"Plan `{report.plan_digest[:12]}`, bundle `{report.bundle_digest[:12]}`, "
        f"accuracy on clean test images {share_text(report.accuracy)}. "
        "Brackets hold intervals. Positives were classified right before the attack and wrong "
        "after it; negatives are clean images that were not attacked."
    )


def _levels(report: EvaluationReport) -> str:
    rows = [
        [
            level.level,
            fusion.name,
            worst_text(fusion),
            area_text(fusion.mean_auroc),
            *(share_text(each.estimate) for each in fusion.mean_found),
            str(level.cost.passes),
            f"{level.cost.milliseconds:.2f}",
            f"{level.cost.overhead:.1%}",
        ]
        for level in report.levels
        for fusion in level.fusions
    ]
    budgets = budgets_of(fusion for level in report.levels for fusion in level.fusions)
    found = [f"found at {budget}, mean" for budget in budgets]
    head = ["level", "fusion", "worst AUROC", "mean AUROC", *found, "passes", "ms", "overhead"]
    return f"## Levels\n\n{table(head, rows)}" if rows else ""


def _score(title: str, score: ScoreFigures) -> str:
    found = [f"found at {budget_text(each.budget)}" for each in score.mean_found]
    shipped = next((each.held for each in score.attacks), ())
    flagged = [f"flagged at {budget_text(each.budget)}" for each in shipped]
    held = [f"flagged or failed at {budget_text(each.budget)}" for each in shipped]
    head = ["attack", "success", "n", "AUROC", *found, *flagged, *held]
    rows = [_attack_row(each, len(found), len(flagged)) for each in score.attacks]
    return f"## {title}\n\n{table(head, rows)}{_false_alarms(score)}"


def _attack_row(figures: AttackFigures, found: int, flagged: int) -> list[str]:
    detection = figures.detection
    return [
        figures.attack,
        share_text(figures.success),
        str(figures.success.hits if figures.success else 0),
        area_text(detection.auroc if detection else None),
        *_shares(detection.found if detection else (), found),
        *_shares(detection.flagged if detection else (), flagged),
        *_shares(figures.held, flagged),
    ]


def _shares(shares: Sequence[ShareAtBudget], columns: int) -> list[str]:
    texts = [share_text(each.share) for each in shares]
    return texts + [share_text(None)] * (columns - len(texts))


def _false_alarms(score: ScoreFigures) -> str:
    if not score.false_alarms:
        return ""
    head = ["clean images", *(f"at {budget_text(each.budget)}" for each in score.false_alarms)]
    rows = [
        ["all", *(share_text(each.pooled) for each in score.false_alarms)],
        ["classified right", *(share_text(each.correct) for each in score.false_alarms)],
        ["classified wrong", *(share_text(each.misclassified) for each in score.false_alarms)],
    ]
    for place, named in enumerate(score.false_alarms[0].classes):
        found = [each.classes[place] for each in score.false_alarms]
        cells = [share_text(each.flagged) + ("" if each.keeps else " **broken**") for each in found]
        rows.append([f"predicted {named.name}", *cells])
    return f"\n\nFalse alarms:\n\n{table(head, rows)}"
