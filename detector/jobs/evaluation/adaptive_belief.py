"""What the success of attackers who know the detector says about it, strong or weak as they are.

An image that got past the detector is a fact, however it was found. Attackers who fail their health
checks would get past it with more images if they were better, and so their success says only that
the true one is *at least* so high: leaving it out would flatter the detector. Where no attacker
passes all checks, nothing is known of how high it is, and the run ends with an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from detector.errors import ControlError
from detector.jobs.evaluation.estimates import Share
from detector.jobs.evaluation.report_sections import AdaptiveFigures, AdaptivePoint

__all__ = ["StrongestAttack", "require_believable", "strongest_attacks", "unbelievable_levels"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StrongestAttack:
    """The attacker who gets most images past one level, at one epsilon and budget.

    Args:
        level: Name of the level.
        epsilon: Radius in [0, 1] pixel scale.
        budget: False-alarm budget, in (0, 1).
        attack: The attacker; of those who do equally well one who passes all checks.
        success: Share of images that are misclassified and not flagged.
        believable: Whether the attacker passes all checks. Where not, the share is no more than a
            lower bound.
    """

    level: str
    epsilon: float
    budget: float
    attack: str
    success: Share
    believable: bool


def strongest_attacks(
    points: Iterable[AdaptivePoint],
) -> dict[tuple[str, float, float], StrongestAttack]:
    """The headline: the strongest attacker by level, epsilon and budget, in the points' order.

    Args:
        points: What attackers reach.
    """
    found: dict[tuple[str, float, float], StrongestAttack] = {}
    for point in points:
        for each in point.success:
            if each.share is None:
                continue
            place = (point.level, point.epsilon, each.budget)
            attack = StrongestAttack(
                level=point.level,
                epsilon=point.epsilon,
                budget=each.budget,
                attack=point.attack,
                success=each.share,
                believable=point.believable,
            )
            if place not in found or _strength(attack) > _strength(found[place]):
                found[place] = attack
    return found


def unbelievable_levels(adaptive: AdaptiveFigures) -> tuple[str, ...]:
    """The levels at which no attacker passes all checks, in the order of the report.

    Args:
        adaptive: What attackers reach.
    """
    believed = {point.level for point in adaptive.points if point.believable}
    attacked = dict.fromkeys(point.level for point in adaptive.points)
    return tuple(level for level in attacked if level not in believed)


def require_believable(adaptive: AdaptiveFigures | None) -> None:
    """Refuse a run whose attackers were all too weak; call it when the report is written.

    Args:
        adaptive: What attackers reach; None where there were none.

    Raises:
        ControlError: If no attacker of some level passes all health checks, naming what failed.
    """
    levels = () if adaptive is None else unbelievable_levels(adaptive)
    if adaptive is None or not levels:
        return
    failed = "; ".join(f"{each.name}: {each.finding}" for each in adaptive.failed)
    raise ControlError(
        "At each level at least one attacker who knows the detector should pass all health "
        f"checks. Found none at {', '.join(levels)}: {failed}. The report is written, but success "
        "there is no more than a lower bound. Give attackers more steps and restarts; if that does "
        "not help, find what their gradients miss."
    )


def _strength(attack: StrongestAttack) -> tuple[float, bool]:
    return attack.success.rate, attack.believable
