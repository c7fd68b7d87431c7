"""The section of the Markdown report about attackers who know the detector."""

from __future__ import annotations

from detector.jobs.evaluation.adaptive_belief import StrongestAttack, strongest_attacks
from detector.jobs.evaluation.markdown import budget_text, share_text, table
from detector.jobs.evaluation.report import EvaluationReport
from detector.jobs.evaluation.report_sections import AdaptiveFigures

__all__ = ["adaptive_section"]

_MARK = " **not believed**"


def adaptive_section(report: EvaluationReport) -> str:
    """What attackers who know the detector reach, the strongest first."""
    adaptive = report.adaptive
    if adaptive is None:
        return ""
    parts = [
        "## Attackers who know the detector",
        _strongest(adaptive),
        _points(adaptive),
        _half(adaptive),
        _failed(adaptive),
        _health(adaptive),
    ]
    return "\n\n".join(part for part in parts if part)


def _strongest(adaptive: AdaptiveFigures) -> str:
    rows = [
        [each.level, f"{each.epsilon:.4f}", budget_text(each.budget), each.attack, _success(each)]
        for each in strongest_attacks(adaptive.points).values()
    ]
    head = ["level", "epsilon", "budget", "strongest attack", "succeeds"]
    return table(head, rows) if rows else ""


def _success(strongest: StrongestAttack) -> str:
    share = share_text(strongest.success)
    return share if strongest.believable else f"at least {share}"


def _points(adaptive: AdaptiveFigures) -> str:
    rows = [
        [
            _named(point.attack, believable=point.believable),
            point.level,
            f"{point.epsilon:.4f}",
            *(share_text(each.share) for each in point.success),
        ]
        for point in adaptive.points
    ]
    budgets = adaptive.points[0].success if adaptive.points else ()
    success = [f"succeeds at {budget_text(each.budget)}" for each in budgets]
    return table(["attack", "level", "epsilon", *success], rows)


def _half(adaptive: AdaptiveFigures) -> str:
    rows = [
        [
            _named(half.attack, believable=half.believable),
            half.level,
            budget_text(half.budget),
            "none tried" if half.epsilon is None else f"{half.epsilon:.4f}",
        ]
        for half in adaptive.half
    ]
    head = ["attack", "level", "budget", "epsilon of half success"]
    return table(head, rows) if rows else ""


def _failed(adaptive: AdaptiveFigures) -> str:
    if not adaptive.failed:
        return ""
    return (
        "Not believed: a health check of the attacker does not hold at this level. What it reaches "
        "is no more than a lower bound; a better attacker gets further."
    )


def _health(adaptive: AdaptiveFigures) -> str:
    rows = [
        [check.name, "holds" if check.holds else "**broken**", check.finding]
        for check in adaptive.health
    ]
    return table(["health of the attacks", "outcome", "found"], rows) if rows else ""


def _named(attack: str, *, believable: bool) -> str:
    return attack if believable else attack + _MARK
