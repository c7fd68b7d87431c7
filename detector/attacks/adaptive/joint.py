"""Descent on a weighted sum of what class and detector ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from torch import Tensor
from typing_extensions import override

from detector.attacks.adaptive.chase import Chase
from detector.attacks.adaptive.descent import Descent, Plan, View
from detector.attacks.adaptive.losses import excess
from detector.errors import InvalidInputError

__all__ = ["JointPgd", "check_weights"]


@dataclass(frozen=True, kw_only=True)
class JointPgd(Descent):
    r"""Brings down the hinge of the class and what the score exceeds its threshold by, at once.

    .. math:: relu(\max_{j \ne t} z_j - z_t + \kappa) + \lambda \, relu(s - s_{allowed})

    Both stop to count where they are reached: an image that became more usual than any budget
    asks for would be conspicuous to a score that looks both ways, and would waste the ball. All
    copies are in the score, so that no sampling over copies is needed.

    Args:
        weights: The lambdas to try, each positive, at least one.
    """

    weights: tuple[float, ...] = (0.1, 1.0, 10.0)
    kappa: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self.weights)

    @override
    def _plans(self, chase: Chase) -> Iterator[Plan]:
        for plan, weight in product(super()._plans(chase), self.weights):
            yield replace(plan, weight=weight)

    @override
    def _direction(self, view: View, chase: Chase) -> Tensor:
        scores = chase.target.smooth_score(view.seen)
        predicted, usable = view.seen.predicted, scores.isfinite()
        if not bool(usable.all()):
            # Anew without those whose score is no number: the class still has to lead them.
            scores, predicted = chase.target.smooth_score(view.seen[usable]), predicted[usable]
        above = excess(scores, predicted, view.allowed).clamp_min(0)
        losses = view.hinge.clamp_min(0).sum() + view.plan.weight * above.sum()
        return view.gradient(losses).sign()


def check_weights(weights: tuple[float, ...]) -> None:
    """Refuse a grid of weights that is empty or not positive.

    Raises:
        InvalidInputError: If it is.
    """
    if not weights or not all(weight > 0 for weight in weights):
        raise InvalidInputError(
            f"weights should be positive, at least one. Found {weights}.", field="weights"
        )
