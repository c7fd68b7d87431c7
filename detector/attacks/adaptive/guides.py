"""Imitation of the paths of clean images that the network takes for the wrong class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Self

import torch
from torch import Tensor
from typing_extensions import override

from detector.attacks.adaptive.chase import Chase
from detector.attacks.adaptive.descent import Descent, Plan, View
from detector.attacks.adaptive.joint import check_weights
from detector.attacks.adaptive.losses import guide_distance
from detector.attacks.adaptive.observation import hardened, judged, observe
from detector.attacks.adaptive.target import Target
from detector.attacks.base import check_at_least
from detector.decoupling import Frozen
from detector.errors import AttackError

__all__ = ["GuideMatching", "Guides"]

_BATCH = 256
"""Images of one pass when guides are gathered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Guides:
    """Paths of clean images that are classified right and not flagged.

    Args:
        bits: Their gates, bool of shape (N, G).
        labels: Their classes, int64 of shape (N,).
    """

    bits: Tensor
    labels: Tensor

    @classmethod
    def of(cls, target: Target, images: Tensor, labels: Tensor, *, budget: float = 0.05) -> Self:
        """The guides among clean images, such as training images.

        Args:
            target: The detector.
            images: uint8 images of shape (N, 3, H, W).
            labels: True classes, int64 of shape (N,).
            budget: False-alarm budget at which none of them may be flagged.
        """
        kept, bits = [], []
        with target.held_still(), torch.no_grad():
            for part, truth in zip(
                *(torch.split(each, _BATCH) for each in (images, labels)), strict=True
            ):
                scaled = target.preprocessing.scale(part.to(target.device))
                seen = hardened(observe(target, scaled, Frozen()))
                found = judged(target, seen)
                predicted, scores = found.predicted.cpu(), found.scores.cpu()
                usable = (predicted == truth.cpu()) & scores.isfinite()
                usable &= ~target.flags(scores, predicted, budget)
                kept.append(truth.cpu()[usable])
                bits.append(seen.path.bits.cpu()[usable])
        return cls(bits=torch.cat(bits), labels=torch.cat(kept))

    def nearest(self, bits: Tensor, goals: Tensor, count: int) -> Tensor:
        """The guides of a class whose paths are nearest.

        Args:
            bits: Paths to start from, bool of shape (B, G).
            goals: Class of the guides for each, int64 of shape (B,).
            count: How many guides for each; where a class has fewer, some come twice.

        Returns:
            Gates of the guides, bool of shape (count, B, G), the nearest first.

        Raises:
            AttackError: If there is no guide of a class.
        """
        chosen = torch.empty((count, *bits.shape), dtype=torch.bool, device=bits.device)
        for goal in torch.unique(goals).tolist():
            own = self.bits[self.labels == goal].to(bits.device)
            if not len(own):
                raise AttackError(
                    f"There should be a guide of each class. Found none of class {goal}. "
                    "Give more clean images."
                )
            rows = torch.nonzero(goals == goal).flatten()
            distance = torch.cdist(bits[rows].float(), own.float(), p=1)  # (n, N)
            order = distance.argsort(dim=1, stable=True)
            places = order[:, torch.arange(count, device=order.device) % len(own)]
            chosen[:, rows] = own[places].transpose(0, 1)
        return chosen


@dataclass(frozen=True, kw_only=True)
class GuideMatching(Descent):
    r"""Becomes a wrong class along the path of a clean image of that class.

    .. math:: relu(\max_{j \ne t} z_j - z_t + \kappa)
        + \lambda \sum_l \frac{1}{C_l} \sum_i relu(\kappa_g - s_{li} y_{li})

    It needs no gradient of the score, so that it also judges scores that have none, and no copies
    on the way, which makes its steps cheap.

    Args:
        guides: Clean paths to imitate.
        nearest: How many of them are tried for each image and class, at least 1.
        weights: The lambdas to try, each positive, at least one.
        gate_kappa: How far beyond zero each gate logit should be, not negative.
        targets: Number of wrong classes that are tried, at least 1; all by default.
    """

    guides: Guides
    nearest: int = 5
    weights: tuple[float, ...] = (1e-2, 1e-1, 1.0, 1e1, 1e2)
    gate_kappa: float = 0.1
    kappa: float = 0.1
    targets: int = 1_000_000

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("nearest", 1), ("targets", 1), ("gate_kappa", 0)):
            check_at_least(name, getattr(self, name), least)
        check_weights(self.weights)

    @override
    def _plans(self, chase: Chase) -> Iterator[Plan]:
        scaled = chase.target.preprocessing.scale(chase.originals)
        with torch.no_grad():
            clean = hardened(observe(chase.target, scaled, Frozen(), copies=())).path
        for goals in self._wrong_classes(chase, self.targets):
            found = self.guides.nearest(clean.bits, goals, self.nearest)
            signs = found.to(clean.logits.dtype) * 2 - 1  # (nearest, B, G)
            rest = product(range(self.restarts), signs, self.ways, self.weights)
            for start, guides, way, weight in rest:
                yield Plan(way=way, start=start, goals=goals, weight=weight, guides=guides)

    @override
    def _copies(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return ()

    @override
    def _direction(self, view: View, chase: Chase) -> Tensor:
        guides = view.plan.guides
        if guides is None:
            raise AttackError("A plan of GuideMatching should have guides. Found none.")
        path = view.seen.path
        distance = guide_distance(path.logits, guides, path.layout, kappa=self.gate_kappa)
        losses = view.hinge.clamp_min(0) + view.plan.weight * distance
        return view.gradient(losses).sign()
