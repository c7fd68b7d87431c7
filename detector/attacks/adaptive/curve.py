"""How often the detector is got past, by how far images may change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from detector.attacks.adaptive.base import AdaptiveAttack, OnProgress
from detector.attacks.adaptive.chase import Evasion
from detector.attacks.adaptive.shares import Share
from detector.attacks.adaptive.target import Target
from detector.errors import InvalidInputError

__all__ = ["CurvePoint", "EvasionCurve", "measure_curve"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePoint:
    """What came of N images, all of which the network classifies right, at one epsilon.

    Args:
        epsilon: Largest change of a pixel value, in [0, 1] pixel scale.
        budgets: False-alarm budgets, A of them.
        evaded: Misclassified and not flagged, bool of shape (A, N).
        fooled: Misclassified, flagged or not, bool of shape (N,).
        false_alarms: Flagged as it came, bool of shape (A, N).
    """

    epsilon: float
    budgets: tuple[float, ...]
    evaded: Tensor
    fooled: Tensor
    false_alarms: Tensor

    def evaded_at(self, budget: float) -> Tensor:
        """Misclassified and not flagged at one of the budgets, bool of shape (N,)."""
        return self.evaded[self.budgets.index(budget)]

    def success(self, budget: float) -> Share:
        """SR@budget: the share of images that get past a detector of that false-alarm budget."""
        return Share.of(self.evaded_at(budget))

    def robust(self, budget: float) -> Tensor:
        """Neither a false alarm before nor past the detector now, bool of shape (N,)."""
        return ~self.evaded_at(budget) & ~self.false_alarms[self.budgets.index(budget)]

    def to_json(self) -> dict[str, Any]:
        """Shares as plain JSON values, those at a budget under its percentage, as SR@5."""
        success = {
            f"SR@{budget * 100:g}": self.success(budget).to_json() for budget in self.budgets
        }
        return {"epsilon": self.epsilon, "fooled": Share.of(self.fooled).to_json(), **success}


@dataclass(frozen=True, kw_only=True, slots=True)
class EvasionCurve:
    """Success by epsilon, on the same images.

    Args:
        points: At least one, epsilon rising.

    Raises:
        InvalidInputError: If there is none, or epsilon does not rise.
    """

    points: tuple[CurvePoint, ...]

    def __post_init__(self) -> None:
        epsilons = [point.epsilon for point in self.points]
        if not epsilons or any(after <= before for before, after in pairwise(epsilons)):
            raise InvalidInputError(
                "epsilons should rise, and there should be at least one. "
                f"Found {', '.join(f'{epsilon:g}' for epsilon in epsilons) or 'none'}.",
                field="epsilons",
            )

    def epsilon_of_success(self, budget: float, rate: float = 0.5) -> float | None:
        """The epsilon at which success first reaches a rate, interpolated between points.

        Args:
            budget: False-alarm budget, one of those measured.
            rate: Share of images, in (0, 1].

        Returns:
            Epsilon in [0, 1] pixel scale; None where no point reaches the rate.
        """
        # At epsilon 0 nothing is misclassified that was right before.
        reached = [(0.0, 0.0), *((p.epsilon, p.success(budget).rate) for p in self.points)]
        for (left, low), (right, high) in pairwise(reached):
            if low < rate <= high:
                return left + (right - left) * (rate - low) / (high - low)
        return None

    def to_json(self) -> dict[str, Any]:
        """All points, and where success reaches one half, as plain JSON values."""
        budgets = self.points[0].budgets
        halves = {f"SR@{b * 100:g}": self.epsilon_of_success(b) for b in budgets}
        return {
            "points": [point.to_json() for point in self.points],
            "epsilon_of_half": halves,
        }


def measure_curve(
    target: Target,
    images: Tensor,
    labels: Tensor,
    attacks: Sequence[AdaptiveAttack],
    epsilons: Sequence[float],
    *,
    batch_size: int = 50,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> EvasionCurve:
    """Success of the best of several attacks, image by image, at several epsilons.

    Each epsilon is measured by itself. To carry successes over to the next one would hide attacks
    that fall behind as epsilon grows, which is a sign that they are broken.

    Args:
        target: The detector.
        images: uint8 images of shape (B, 3, H, W).
        labels: True classes, int64 of shape (B,).
        attacks: At least one, all with the same budgets; their own epsilon is not used. An
            attack is spared images that those before it got past all budgets.
        epsilons: In [0, 1] pixel scale, rising.
        batch_size: Number of images that are attacked at once, each with its copies.
        seed: Fixes what is random.
        on_progress: Called after each batch.

    Raises:
        InvalidInputError: If attacks, images or epsilons are not of this kind, or the network
            classifies no image right.
    """
    if len({attack.budgets for attack in attacks}) != 1:
        raise InvalidInputError(
            "attacks should be at least one, all with the same budgets. "
            f"Found {len(attacks)} with {len({attack.budgets for attack in attacks})}.",
            field="attacks",
        )
    batches = list(zip(*(torch.split(each, batch_size) for each in (images, labels)), strict=True))
    points = []
    for number, epsilon in enumerate(epsilons):
        found = []
        for done, (part, truth) in enumerate(batches, start=1):
            found.append(_best(target, part, truth, _at(attacks, epsilon), seed))
            if on_progress is not None:
                on_progress(number * len(batches) + done, len(epsilons) * len(batches))
        points.append(_point(found, epsilon, attacks[0].budgets))
    return EvasionCurve(points=tuple(points))


def _at(attacks: Sequence[AdaptiveAttack], epsilon: float) -> list[AdaptiveAttack]:
    return [replace(attack, epsilon=epsilon) for attack in attacks]


def _best(
    target: Target, images: Tensor, labels: Tensor, attacks: list[AdaptiveAttack], seed: int
) -> tuple[Tensor, Tensor, Evasion]:
    """What any of the attacks reaches, (A, B) and (B,), and what the first one found."""
    first = attacks[0](target, images, labels, seed=seed)
    evaded, fooled = first.evaded, first.fooled
    for attack in attacks[1:]:
        left = torch.nonzero(first.right_before & ~evaded.all(dim=0)).flatten()
        if len(left):
            found = attack(target, images[left], labels[left], seed=seed)
            evaded[:, left] |= found.evaded
            fooled[left] |= found.fooled
    return evaded, fooled, first


def _point(
    found: list[tuple[Tensor, Tensor, Evasion]], epsilon: float, budgets: tuple[float, ...]
) -> CurvePoint:
    right = torch.cat([first.right_before for _, _, first in found])
    if not bool(right.any()):
        raise InvalidInputError(
            f"The network should classify at least one image right. Found none of {len(right)}.",
            field="images",
        )
    return CurvePoint(
        epsilon=epsilon,
        budgets=budgets,
        evaded=torch.cat([evaded for evaded, _, _ in found], dim=1)[:, right],
        fooled=torch.cat([fooled for _, fooled, _ in found])[right],
        false_alarms=torch.cat([first.original_flagged for *_, first in found], dim=1)[:, right],
    )
