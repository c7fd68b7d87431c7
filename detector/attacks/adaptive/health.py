"""Signs that an attack is too weak for its failures to say anything about the detector.

Each check compares results on the same images and fails where the difference is more than noise.
A failed check speaks against the evaluation, not for the detector.

Reference:
    Carlini et al., "On Evaluating Adversarial Robustness", 2019.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from detector.attacks.adaptive.curve import CurvePoint, EvasionCurve
from detector.attacks.adaptive.shares import Share, chance_of_lead
from detector.errors import InvalidInputError

__all__ = [
    "HealthCheck",
    "black_box_trails",
    "large_epsilon_suffices",
    "rejection_is_believable",
    "steps_suffice",
    "success_never_falls",
]

_SIGNIFICANCE = 0.05
"""Chance that a check fails although all is well."""

_LARGE_EPSILON = 0.5
"""From here on each image can become plain grey, and so any other's equal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthCheck:
    """One check and what it came to.

    Args:
        name: What should hold, as a sentence.
        passed: Whether it does, up to noise.
        found: The share that is checked, in [0, 1].
        reference: The share that it is compared with.
        chance: How likely such a difference is where all is well, in [0, 1].
    """

    name: str
    passed: bool
    found: float
    reference: float
    chance: float

    @property
    def difference(self) -> float:
        """By how much the two differ, in [-1, 1]."""
        return self.found - self.reference

    def to_json(self) -> dict[str, Any]:
        """The fields, and the difference, as plain JSON values."""
        return {**asdict(self), "difference": self.difference}


def success_never_falls(curve: EvasionCurve, budget: float) -> HealthCheck:
    """Whether success stays as epsilon grows: a larger ball holds the smaller one.

    Args:
        curve: At least two points.
        budget: False-alarm budget.

    Returns:
        The worst step of the curve; its chance is multiplied by their number (Bonferroni).

    Raises:
        InvalidInputError: If there is one point only.
    """
    steps = list(pairwise(point.evaded_at(budget) for point in curve.points))
    if not steps:
        raise InvalidInputError(
            "The curve should have at least two points. Found one. Measure more epsilons.",
            field="epsilons",
        )
    before, after = min(steps, key=lambda step: chance_of_lead(*step))
    chance = min(1.0, len(steps) * chance_of_lead(before, after))
    return _check("success does not fall as epsilon grows", after, before, chance=chance)


def large_epsilon_suffices(
    curve: EvasionCurve, budget: float, *, at_least: float = 0.95
) -> HealthCheck:
    """Whether (nearly) every image gets past where images may become anything.

    An attack that stops short of this at the largest epsilon does not use the freedom it has.

    Args:
        curve: Its last epsilon is at least 0.5.
        budget: False-alarm budget.
        at_least: Share that should succeed, in (0, 1).

    Raises:
        InvalidInputError: If the last epsilon is smaller.
    """
    last = curve.points[-1]
    if last.epsilon < _LARGE_EPSILON:
        raise InvalidInputError(
            f"The last epsilon should be at least {_LARGE_EPSILON:g}. Found {last.epsilon:g}. "
            "Measure one more point.",
            field="epsilons",
        )
    success = last.success(budget)
    chance = success.chance_of_so_few(at_least)
    return HealthCheck(
        name=f"success reaches {at_least:g} where images may change at will",
        passed=chance > _SIGNIFICANCE,
        found=success.rate,
        reference=at_least,
        chance=chance,
    )


def steps_suffice(evaded: Tensor, evaded_by_twice: Tensor) -> HealthCheck:
    """Whether twice the steps add no more than noise; `difference` says how much they add.

    Args:
        evaded: Which images got past, bool of shape (N,).
        evaded_by_twice: The same after twice the steps, bool of shape (N,).
    """
    chance = chance_of_lead(evaded_by_twice, evaded)
    return _check("twice the steps do not help", evaded_by_twice, evaded, chance=chance)


def black_box_trails(white_box: Tensor, black_box: Tensor) -> HealthCheck:
    """Whether the attack that follows gradients is not behind the one that has none.

    Args:
        white_box: Which images got past by gradients, bool of shape (N,).
        black_box: Which did by search, in the same ball, bool of shape (N,).
    """
    chance = chance_of_lead(black_box, white_box)
    return _check("search without gradients is no better", black_box, white_box, chance=chance)


def rejection_is_believable(
    point: CurvePoint, fooled_at_half: Tensor, budget: float
) -> HealthCheck:
    """Whether robust accuracy with rejection stays below that without, at half of epsilon.

    From a detector that is robust at epsilon follows a classifier that is robust at epsilon / 2,
    however slow. Where ours claims more than the classifier has, the attack on it was too weak,
    for nobody believes in such a classifier.

    Args:
        point: What came of the images at epsilon.
        fooled_at_half: Which of them are misclassified at epsilon / 2, flagged or not, by the best
            attack known, bool of shape (N,).
        budget: False-alarm budget.

    Reference:
        Tramer, "Detecting Adversarial Examples Is (Nearly) As Hard As Classifying Them", ICML 2022.
    """
    robust, without = point.robust(budget), ~fooled_at_half
    return _check(
        "robust accuracy with rejection is no more than without at half of epsilon",
        robust,
        without,
        chance=chance_of_lead(robust, without),
    )


def _check(name: str, found: Tensor, reference: Tensor, *, chance: float) -> HealthCheck:
    return HealthCheck(
        name=name,
        passed=chance > _SIGNIFICANCE,
        found=Share.of(found).rate,
        reference=Share.of(reference).rate,
        chance=chance,
    )
