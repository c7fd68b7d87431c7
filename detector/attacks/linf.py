"""What attacks within an L-infinity ball share."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from detector.attacks.balls import Ball, LinfBall
from detector.attacks.base import Attack, check_at_least, check_epsilon

__all__ = ["IteratedAttack", "LinfAttack"]


@dataclass(frozen=True, kw_only=True)
class LinfAttack(Attack):
    """An attack whose images differ by at most epsilon in each pixel value.

    Args:
        epsilon: Largest change of a pixel value, in [0, 1] pixel scale.
    """

    epsilon: float

    def __post_init__(self) -> None:
        check_epsilon(self.epsilon)

    @property
    @override
    def ball(self) -> Ball:
        return LinfBall(self.epsilon)


@dataclass(frozen=True, kw_only=True)
class IteratedAttack(LinfAttack):
    """Several steps.

    Args:
        epsilon: Largest change of a pixel value, in [0, 1] pixel scale.
        steps: Number of gradient steps, at least 1.
    """

    steps: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("steps", self.steps, 1)
