"""What attackers who know the detector reach, and whether their attacks are to be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from detector.attacks import Pgd, attack_images
from detector.attacks.adaptive import (
    AdaptiveAttack,
    EvasionCurve,
    GradientFree,
    JointPgd,
    OrthogonalPgd,
    SelectivePgd,
    black_box_trails,
    measure_curve,
    rejection_is_believable,
    steps_suffice,
    success_never_falls,
)
from detector.attacks.adaptive import HealthCheck as FoundCheck
from detector.bundle import Bundle
from detector.data import Splits
from detector.jobs.evaluation.adaptive_kept import kept_figures
from detector.jobs.evaluation.adaptive_target import target_of
from detector.jobs.evaluation.estimates import Share
from detector.jobs.evaluation.figures import ShareAtBudget
from detector.jobs.evaluation.plain_values import to_plain
from detector.jobs.evaluation.plan import AdaptivePlan
from detector.jobs.evaluation.report_sections import (
    AdaptiveFigures,
    AdaptivePoint,
    HalfSuccess,
    HealthCheck,
)
from detector.jobs.image_order import ImageOrder
from detector.jobs.progress import Progress
from detector.path_table import SplitName
from detector.pipeline import Level, Pipeline

__all__ = ["adaptive_figures"]

_BUDGET = 0.05
_BATCH = 50


def adaptive_figures(
    bundle: Bundle, splits: Splits, plan: AdaptivePlan, folder: Path, *, seed: int
) -> AdaptiveFigures:
    """Attack each level of a plan with all of the detector known.

    Args:
        bundle: What is attacked.
        splits: The data set; of its first test images in the order of extraction, those that are
            classified right are attacked.
        plan: How.
        folder: Where the figures of each attacker are kept; those that an earlier run left there
            are used.
        seed: Seed of what is random.

    Raises:
        InvalidInputError: If the plan names a level that does not exist.
        DataError: If what was kept cannot be read.
        StorageError: If figures cannot be kept.
    """
    pipeline = bundle.pipeline
    levels = [pipeline.level(name) for name in plan.levels]
    attacks = _attacks(plan)
    images = ImageOrder.of(splits, SplitName.TEST, plan.images)
    facts = {
        "bundle": bundle.manifest.digest,
        "images": splits.test.digest(),
        "plan": to_plain(plan),
        "seed": seed,
    }
    found: list[AdaptiveFigures] = []
    batches = -(-images.asked // _BATCH)
    total = len(levels) * (len(attacks) * len(plan.epsilons) + 2) * batches
    with Progress.shown("adaptive attacks", total) as progress:
        for level in levels:
            run = _Run(pipeline, images, plan, level, seed, progress)
            for name, attack in attacks.items():
                path = folder / f"{level.name}-{name}.json"
                found.append(kept_figures(path, facts, partial(run.figures, name, attack)))
    return AdaptiveFigures(
        points=tuple(point for each in found for point in each.points),
        half=tuple(half for each in found for half in each.half),
        health=tuple(check for each in found for check in each.health),
    )


def _attacks(plan: AdaptivePlan) -> dict[str, AdaptiveAttack]:
    common = {"epsilon": plan.epsilons[0], "steps": plan.steps, "restarts": plan.restarts}
    return {
        "selective-pgd": SelectivePgd(**common),  # type: ignore[arg-type]  # whole numbers stay whole
        "orthogonal-pgd": OrthogonalPgd(**common),  # type: ignore[arg-type]  # likewise
        "joint-pgd": JointPgd(**common),  # type: ignore[arg-type]  # likewise
    }


class _Run:
    """Attacks on one level."""

    def __init__(
        self,
        pipeline: Pipeline,
        images: ImageOrder,
        plan: AdaptivePlan,
        level: Level,
        seed: int,
        progress: Progress,
    ) -> None:
        rows = images.order[: images.asked]
        self._pipeline = pipeline
        self._plan = plan
        self._level = level
        self._seed = seed
        self._progress = progress
        self._images = images.images.read(rows.tolist(), pipeline.preprocessing)
        self._labels = torch.from_numpy(images.images.labels[rows])
        self._target = target_of(pipeline, level, self._images)

    def figures(self, name: str, attack: AdaptiveAttack) -> AdaptiveFigures:
        """What one attacker reaches."""
        curve = self.curve([attack], self._plan.epsilons)
        return AdaptiveFigures(
            points=tuple(_points(name, self._level, curve)),
            half=tuple(_half(name, self._level, curve)),
            health=tuple(self.checks(name, attack, curve)),
        )

    def curve(self, attacks: Sequence[AdaptiveAttack], epsilons: Sequence[float]) -> EvasionCurve:
        """Success by epsilon."""
        return measure_curve(
            self._target,
            self._images,
            self._labels,
            attacks,
            epsilons,
            batch_size=_BATCH,
            seed=self._seed,
            on_progress=lambda _done, _of: self._progress.advance(1),
        )

    def checks(self, name: str, attack: AdaptiveAttack, curve: EvasionCurve) -> list[HealthCheck]:
        """Whether one attack is as strong as it should be."""
        found = [rejection_is_believable(curve.points[-1], self._fooled_at_half(curve), _BUDGET)]
        if len(curve.points) > 1:
            found.append(success_never_falls(curve, _BUDGET))
        first = [self._plan.epsilons[0]]
        if isinstance(attack, SelectivePgd):
            twice = replace(attack, steps=2 * attack.steps)
            again = self.curve([twice], first).points[0]
            found.append(
                steps_suffice(curve.points[0].evaded_at(_BUDGET), again.evaded_at(_BUDGET))
            )
            blind = GradientFree(epsilon=first[0], queries=self._plan.queries)
            search = self.curve([blind], first).points[0]
            found.append(
                black_box_trails(curve.points[0].evaded_at(_BUDGET), search.evaded_at(_BUDGET))
            )
        return [_as_check(f"{name} at {self._level.name}", each) for each in found]

    def _fooled_at_half(self, curve: EvasionCurve) -> Tensor:
        """Which of the images that count are misclassified at half of the last epsilon."""
        result = attack_images(
            self._pipeline.network,
            self._pipeline.preprocessing,
            self._images,
            self._labels,
            Pgd(epsilon=curve.points[-1].epsilon / 2),
            seed=self._seed,
        )
        right = result.original_prediction == self._labels
        return result.success[right]


def _points(name: str, level: Level, curve: EvasionCurve) -> list[AdaptivePoint]:
    return [
        AdaptivePoint(
            attack=name,
            level=level.name.value,
            epsilon=point.epsilon,
            success=tuple(
                ShareAtBudget(budget=budget, share=Share.of_flags(point.evaded_at(budget).numpy()))
                for budget in point.budgets
            ),
        )
        for point in curve.points
    ]


def _half(name: str, level: Level, curve: EvasionCurve) -> list[HalfSuccess]:
    return [
        HalfSuccess(
            attack=name,
            level=level.name.value,
            budget=budget,
            epsilon=curve.epsilon_of_success(budget),
        )
        for budget in curve.points[0].budgets
    ]


def _as_check(subject: str, found: FoundCheck) -> HealthCheck:
    return HealthCheck(
        name=f"{subject}: {found.name}",
        holds=found.passed,
        finding=(
            f"found {found.found:.3f} against {found.reference:.3f}, "
            f"chance {found.chance:.3f} if it holds"
        ),
    )
