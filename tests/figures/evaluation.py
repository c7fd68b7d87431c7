"""What only the whole evaluation measures, read from the report that ships with the default.

These lines are read, not measured again: `offpath evaluate` takes longer than all other figures
together. The report names the plan and the bundle; another bundle than the default is refused.
"""

from __future__ import annotations

from detector.jobs.evaluation import RELEASED_REPORT, EvaluationReport
from detector.jobs.evaluation.figures import ScoreFigures
from tests.figures.bench import Bench
from tests.figures.figure import Figure, reported

__all__ = ["evaluation"]

_KNOWN_TARGET = 0.90
_RIVALS = ("mahalanobis", "intrinsic-dimensionality", "feature-squeezing")


def evaluation(bench: Bench) -> list[Figure]:
    """Known attacks, attacks whose family was left out, and the baselines, from the report."""
    report = EvaluationReport.read(RELEASED_REPORT)
    same = report.bundle_digest == bench.bundle.manifest.digest
    figures = [
        Figure(
            name="the released report is about the bundled default",
            target="same digest",
            measured=report.bundle_digest[:12],
            holds=same,
        )
    ]
    scores = {
        (level.level, fusion.name): fusion for level in report.levels for fusion in level.fusions
    }
    for (level, fusion), found in scores.items():
        if fusion == "learnt":
            figures.append(_known(level, found))
    for level, worst in report.worst_left_out.items():
        figures.append(
            reported(
                f"AUROC with the attack's family left out, {level}, worst (report)",
                f"{worst.value:.4f} [{worst.low:.4f}, {worst.high:.4f}]",
            )
        )
    figures.append(_against(scores["fast", "one-class"], report.baselines))
    return figures


def _known(level: str, found: ScoreFigures) -> Figure:
    at_one = next(each.estimate for each in found.mean_found if each.budget == 0.01)
    aimed = level == "thorough"
    return Figure(
        name=f"found at 1 % false alarms, learnt from known attacks, {level}, mean (report)",
        target=f">= {_KNOWN_TARGET:.0%}" if aimed else "",
        measured="not measured" if at_one is None else f"{at_one.value:.1%}",
        holds=at_one is not None and at_one.value >= _KNOWN_TARGET if aimed else None,
    )


def _against(ours: ScoreFigures, baselines: tuple[ScoreFigures, ...]) -> Figure:
    def both(score: ScoreFigures) -> tuple[float, float]:
        worst, mean = score.worst, score.mean_auroc
        return (worst.auroc.value if worst else 0.0, mean.value if mean else 0.0)

    rivals = {score.name: both(score) for score in baselines if score.name in _RIVALS}
    worst, mean = both(ours)
    shown = ", ".join(f"{name} {low:.3f}/{middle:.3f}" for name, (low, middle) in rivals.items())
    return Figure(
        name="fast, one pass: worst/mean AUROC against baselines (report)",
        target="above each",
        measured=f"{worst:.3f}/{mean:.3f} against {shown}",
        holds=all(worst > low and mean > middle for low, middle in rivals.values()),
    )
