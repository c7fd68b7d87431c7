"""What attackers who know the detector reach, and whether their attacks are to be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from detector.attacks import Pgd, attack_images
from detector.attacks.adaptive import (
    AdaptiveAttack,
    EvasionCurve,
    GradientFree,
    Guides,
    black_box_trails,
    measure_curve,
    rejection_is_believable,
    steps_suffice,
    success_never_falls,
)
from detector.attacks.adaptive import HealthCheck as FoundCheck
from detector.attacks.adaptive.descent import Descent
from detector.bundle import Bundle
from detector.data import Splits
from detector.jobs.evaluation.adaptive_attackers import Attacker, attackers, drawn_guides
from detector.jobs.evaluation.adaptive_kept import kept_figures
from detector.jobs.evaluation.adaptive_target import target_of
from detector.jobs.evaluation.estimates import Share
from detector.jobs.evaluation.figures import ShareAtBudget
from detector.jobs.evaluation.plan import AdaptivePlan
from detector.jobs.evaluation.report_sections import (
    AdaptiveFigures,
    AdaptivePoint,
    HalfSuccess,
    HealthCheck,
)
from detector.jobs.image_order import ImageOrder
from detector.jobs.plain_values import to_plain
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
            classified right are attacked. Clean paths to imitate come from its fit images.
        plan: How.
        folder: Where the figures of each attacker are kept; those that an earlier run left there
            are used.
        seed: Seed of what is random.

    Raises:
        InvalidInputError: If the plan names a level that does not exist.
        AttackError: If no fit image of a class can be imitated.
        DataError: If what was kept cannot be read.
        StorageError: If figures cannot be kept.
    """
    pipeline = bundle.pipeline
    levels = [pipeline.level(name) for name in plan.levels]
    named = attackers(plan)
    facts = {
        "bundle": bundle.manifest.digest,
        "images": splits.test.digest(),
        "guides": splits.fit.digest(),
        "plan": to_plain(plan),
        "seed": seed,
    }
    found: list[AdaptiveFigures] = []
    batches = -(-min(plan.images, len(splits.test)) // _BATCH)
    total = len(levels) * (len(named) * (len(plan.epsilons) + 1) + 1) * batches
    with Progress.shown("adaptive attacks", total) as progress:
        for level in levels:
            run = _Run(pipeline, splits, plan, level, seed, progress)
            for name, attacker in named.items():
                path = folder / f"{level.name}-{name}.json"
                found.append(kept_figures(path, facts, partial(run.figures, name, attacker)))
    return AdaptiveFigures(
        points=tuple(point for each in found for point in each.points),
        half=tuple(half for each in found for half in each.half),
        health=tuple(check for each in found for check in each.health),
    )


class _Run:
    """Attacks on one level."""

    def __init__(
        self,
        pipeline: Pipeline,
        splits: Splits,
        plan: AdaptivePlan,
        level: Level,
        seed: int,
        progress: Progress,
    ) -> None:
        images = ImageOrder.of(splits, SplitName.TEST, plan.images)
        rows = images.order[: images.asked]
        self._pipeline = pipeline
        self._fit = splits.fit
        self._plan = plan
        self._level = level
        self._seed = seed
        self._progress = progress
        self._images = images.images.read(rows.tolist(), pipeline.preprocessing)
        self._labels = torch.from_numpy(images.images.labels[rows])
        self._target = target_of(pipeline, level, self._images)

    def figures(self, name: str, attacker: Attacker) -> AdaptiveFigures:
        """What one attacker reaches, and whether that is to be believed."""
        attack = attacker(self._guides)
        curve = self._curve(attack, self._plan.epsilons)
        checks = self._checks(attack, curve)
        believable = all(check.passed for check in checks)
        return AdaptiveFigures(
            points=tuple(_points(name, self._level, curve, believable=believable)),
            half=tuple(_half(name, self._level, curve, believable=believable)),
            health=tuple(_as_check(f"{name} at {self._level.name}", check) for check in checks),
        )

    @cached_property
    def _guides(self) -> Guides:
        preprocessing = self._pipeline.preprocessing
        return drawn_guides(self._target, self._fit, preprocessing, seed=self._seed)

    @cached_property
    def _found_blindly(self) -> Tensor:
        """Which images a search without gradients gets past the level at the first epsilon."""
        first = self._plan.epsilons[0]
        search = GradientFree(epsilon=first, queries=self._plan.queries)
        return self._curve(search, [first]).points[0].evaded_at(_BUDGET)

    @cached_property
    def _fooled_at_half(self) -> Tensor:
        """Which of the images that count are misclassified at half of the last epsilon."""
        result = attack_images(
            self._pipeline.network,
            self._pipeline.preprocessing,
            self._images,
            self._labels,
            Pgd(epsilon=self._plan.epsilons[-1] / 2),
            seed=self._seed,
        )
        right = result.original_prediction == self._labels
        return result.success[right]

    def _curve(self, attack: AdaptiveAttack, epsilons: Sequence[float]) -> EvasionCurve:
        return measure_curve(
            self._target,
            self._images,
            self._labels,
            [attack],
            epsilons,
            batch_size=_BATCH,
            seed=self._seed,
            on_progress=lambda _done, _of: self._progress.advance(1),
        )

    def _checks(self, attack: Descent, curve: EvasionCurve) -> list[FoundCheck]:
        """Whether an attacker is as strong as it should be: the same checks for each."""
        found = [rejection_is_believable(curve.points[-1], self._fooled_at_half, _BUDGET)]
        if len(curve.points) > 1:
            found.append(success_never_falls(curve, _BUDGET))
        once = curve.points[0].evaded_at(_BUDGET)
        twice = self._curve(replace(attack, steps=2 * attack.steps), self._plan.epsilons[:1])
        found.append(steps_suffice(once, twice.points[0].evaded_at(_BUDGET)))
        found.append(black_box_trails(once, self._found_blindly))
        return found


def _points(
    name: str, level: Level, curve: EvasionCurve, *, believable: bool
) -> list[AdaptivePoint]:
    return [
        AdaptivePoint(
            attack=name,
            level=level.name.value,
            epsilon=point.epsilon,
            success=tuple(
                ShareAtBudget(budget=budget, share=Share.of_flags(point.evaded_at(budget).numpy()))
                for budget in point.budgets
            ),
            believable=believable,
        )
        for point in curve.points
    ]


def _half(name: str, level: Level, curve: EvasionCurve, *, believable: bool) -> list[HalfSuccess]:
    return [
        HalfSuccess(
            attack=name,
            level=level.name.value,
            budget=budget,
            epsilon=curve.epsilon_of_success(budget),
            believable=believable,
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
