"""What attackers who know the detector reach at the default level."""

from __future__ import annotations

import tempfile
from pathlib import Path

from detector.jobs.evaluation.adaptive import adaptive_figures
from detector.jobs.evaluation.plan import AdaptivePlan
from tests.figures.bench import Bench
from tests.figures.figure import Figure, share_text

__all__ = ["adaptive"]

_SMALL = 0.01
_TARGET = 0.80
_HELD_TO_IT = ("selective-pgd", "orthogonal-pgd")


def adaptive(bench: Bench) -> list[Figure]:
    """Share of images that are misclassified and not flagged at a 5 % budget, by attacker.

    Fewer images and steps than in the evaluation's own plan: what they do not reach, others may.
    """
    plan = AdaptivePlan(
        levels=(bench.pipeline.default_level.value,),
        epsilons=(1 / 255, _SMALL, 8 / 255),
        images=16,
        steps=50,
        queries=100,
    )
    with tempfile.TemporaryDirectory(prefix="offpath-figures-") as folder:
        found = adaptive_figures(bench.bundle, bench.splits, plan, Path(folder), seed=0)
    figures = []
    for point in found.points:
        share = next(each.share for each in point.success if each.budget == 0.05)
        within = point.believable and share is not None and share.rate <= _TARGET
        aimed = point.epsilon == _SMALL and point.attack in _HELD_TO_IT
        figures.append(
            Figure(
                name=f"{point.attack} at epsilon {point.epsilon:.3g}, {point.level}: SR@5",
                target=f"<= {_TARGET:.0%}" if aimed else "",
                measured="no image" if share is None else share_text(share.hits, share.total),
                holds=within if aimed else None,
            )
        )
    figures += [
        Figure(name=check.name, target="holds", measured=check.finding, holds=check.holds)
        for check in found.health
    ]
    return figures
