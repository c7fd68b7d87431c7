"""What attackers who know the detector reach, and whether their attacks are to be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
    Target,
    black_box_trails,
    measure_curve,
    rejection_is_believable,
    steps_suffice,
    success_never_falls,
)
from detector.attacks.adaptive import HealthCheck as FoundCheck
from detector.data import TestImages
from detector.jobs.evaluation.estimates import Share
from detector.jobs.evaluation.figures import ShareAtBudget
from detector.jobs.evaluation.plan import AdaptivePlan
from detector.jobs.evaluation.report_sections import (
    AdaptiveFigures,
    AdaptivePoint,
    HalfSuccess,
    HealthCheck,
)
from detector.jobs.progress import Progress
from detector.pipeline import Level, Pipeline
from detector.scoring import Observation

__all__ = ["adaptive_figures"]

_BUDGET = 0.05
_BATCH = 50


def adaptive_figures(
    pipeline: Pipeline, test: TestImages, plan: AdaptivePlan, *, seed: int
) -> AdaptiveFigures:
    """Attack each level of a plan with all of the detector known.

    Args:
        pipeline: The pipeline that is attacked.
        test: Test images; the first ones that are classified right are attacked.
        plan: How.
        seed: Seed of what is random.

    Raises:
        InvalidInputError: If the plan names a level that does not exist.
    """
    levels = [pipeline.level(name) for name in plan.levels]
    points: list[AdaptivePoint] = []
    half: list[HalfSuccess] = []
    health: list[HealthCheck] = []
    attacks = _attacks(plan)
    batches = -(-plan.images // _BATCH)
    total = len(levels) * (len(attacks) * len(plan.epsilons) + 2) * batches
    with Progress.shown("adaptive attacks", total) as progress:
        for level in levels:
            run = _Run(pipeline, test, plan, level, seed, progress)
            for name, attack in attacks.items():
                curve = run.curve([attack], plan.epsilons)
                points += _points(name, level, curve)
                half += _half(name, level, curve)
                health += run.checks(name, attack, curve)
    return AdaptiveFigures(points=tuple(points), half=tuple(half), health=tuple(health))


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
        test: TestImages,
        plan: AdaptivePlan,
        level: Level,
        seed: int,
        progress: Progress,
    ) -> None:
        def score(seen: Observation) -> Tensor:
            scores: Tensor = level.suspicion(seen).scores
            return scores

        self._pipeline = pipeline
        self._plan = plan
        self._level = level
        self._seed = seed
        self._progress = progress
        self._target = Target(
            network=pipeline.network,
            preprocessing=pipeline.preprocessing,
            score=score,
            flags=level.conformal.flags,
            copies=level.copies,
        )
        self._images = test.read(range(plan.images), pipeline.preprocessing)
        self._labels = torch.from_numpy(test.labels[: plan.images])

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
