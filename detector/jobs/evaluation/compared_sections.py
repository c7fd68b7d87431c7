"""The sections of the Markdown report that set scores, and networks, beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from detector.jobs.evaluation.estimates import Estimate, difference_of
from detector.jobs.evaluation.figures import AttackFigures, ScoreFigures
from detector.jobs.evaluation.markdown import (
    area_text,
    budget_text,
    change_text,
    share_text,
    table,
)
from detector.jobs.evaluation.report import EvaluationReport

__all__ = ["baselines_section", "budgets_of", "plain_section", "transfer_section", "worst_text"]

_Pair = tuple[ScoreFigures, ScoreFigures]
"""One score on the decoupled network, and the same on the plain one."""


def baselines_section(report: EvaluationReport) -> str:
    """Scores to compare with, on the same network."""
    compared = _compared(report.baselines)
    return f"## Baselines on the same network\n\n{compared}" if compared else ""


def transfer_section(report: EvaluationReport) -> str:
    """Attacks made on other networks: which still succeed here, and how well they are found."""
    if not report.transfer:
        return ""
    attacks = [
        (each.network, score.name, attack)
        for each in report.transfer
        for under_one in zip(*(score.attacks for score in each.scores), strict=True)
        for score, attack in zip(each.scores, under_one, strict=True)
    ]
    budgets = list(dict.fromkeys(b.budget for *_, attack in attacks for b in attack.held))
    flagged = [f"flagged at {budget_text(budget)}" for budget in budgets]
    head = ["made on", "attack", "score", "success", "n", "AUROC", *flagged]
    rows = [
        [network, attack.attack, name, *_transferred(attack, budgets)]
        for network, name, attack in attacks
    ]
    return (
        "## Attacks made on other networks\n\n"
        "The attacker knows another network alone. Success is that of its images on this one, "
        "among those that this one classified right before.\n\n"
        f"{table(head, rows)}"
    )


def plain_section(report: EvaluationReport) -> str:
    """The same scores on the plain network, and what decoupling adds to each."""
    plain = report.plain_network
    if plain is None:
        return ""
    parts = [
        "## The plain network, under attacks of its own",
        f"Accuracy of the plain network on clean test images: {share_text(plain.accuracy)}.",
        _compared(plain.scores),
    ]
    if pairs := _pairs(report, plain.scores):
        parts += [_headline(pairs), _changes(pairs)]
    return "\n\n".join(parts)


def worst_text(score: ScoreFigures) -> str:
    """The smallest area of a score, and under which attack."""
    worst = score.worst
    return area_text(None) if worst is None else f"{area_text(worst.auroc)} ({worst.attack})"


def budgets_of(scores: Iterable[ScoreFigures]) -> list[str]:
    """The budgets at which scores of one report were measured."""
    first = next(iter(scores), None)
    return [] if first is None else [budget_text(each.budget) for each in first.mean_found]


def _transferred(attack: AttackFigures, budgets: Sequence[float]) -> list[str]:
    success, detection = attack.success, attack.detection
    flagged = {} if detection is None else {each.budget: each.share for each in detection.flagged}
    return [
        share_text(success),
        str(success.hits if success else 0),
        "never succeeds" if detection is None else area_text(detection.auroc),
        *(share_text(flagged.get(budget)) for budget in budgets),
    ]


def _compared(scores: Sequence[ScoreFigures]) -> str:
    rows = [
        [
            score.name,
            worst_text(score),
            area_text(score.mean_auroc),
            *(share_text(each.estimate) for each in score.mean_found),
        ]
        for score in scores
    ]
    found = [f"found at {budget}, mean" for budget in budgets_of(scores)]
    return table(["score", "worst AUROC", "mean AUROC", *found], rows) if rows else ""


def _pairs(report: EvaluationReport, plain: Sequence[ScoreFigures]) -> dict[str, _Pair]:
    """What was measured on both networks, by its name."""
    own = {
        f"{level.level}, {fusion.name}": fusion
        for level in report.levels
        for fusion in level.fusions
    } | {score.name: score for score in report.baselines}
    return {score.name: (own[score.name], score) for score in plain if score.name in own}


def _headline(pairs: dict[str, _Pair]) -> str:
    """What decoupling adds, from the score that does best on each network."""
    name, ours = _best({name: ours for name, (ours, _) in pairs.items()})
    other, theirs = _best({name: theirs for name, (_, theirs) in pairs.items()})
    return (
        "What decoupling adds: of the scores measured on both networks, the best by mean AUROC is "
        f"{name} on the decoupled network, {area_text(ours.mean_auroc)}, and {other} on the plain "
        f"one, {area_text(theirs.mean_auroc)}. The mean AUROC changes by "
        f"{_mean_change((ours, theirs))}, the worst by {_worst_change((ours, theirs))}. "
        "Each network is attacked by itself, so that other images succeed."
    )


def _changes(pairs: dict[str, _Pair]) -> str:
    rows = [[name, _mean_change(pair), _worst_change(pair)] for name, pair in pairs.items()]
    head = ["the same score, decoupled less plain", "mean AUROC", "worst AUROC"]
    return table(head, rows)


def _best(scores: dict[str, ScoreFigures]) -> tuple[str, ScoreFigures]:
    def mean(item: tuple[str, ScoreFigures]) -> float:
        found = item[1].mean_auroc
        return -1.0 if found is None else found.value

    return max(scores.items(), key=mean)


def _mean_change(pair: _Pair) -> str:
    return _change(*(score.mean_auroc for score in pair))


def _worst_change(pair: _Pair) -> str:
    return _change(*(None if score.worst is None else score.worst.auroc for score in pair))


def _change(ours: Estimate | None, theirs: Estimate | None) -> str:
    if ours is None or theirs is None:
        return change_text(None)
    return change_text(difference_of(ours, theirs))
