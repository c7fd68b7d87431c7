"""Descent within the ball from several starts, to several goals, in several ways."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor
from typing_extensions import override

from detector.attacks.adaptive.base import AdaptiveAttack, OnProgress
from detector.attacks.adaptive.chase import Chase
from detector.attacks.adaptive.losses import class_hinge
from detector.attacks.adaptive.observation import Judgement, judge_wrong, judged, observe
from detector.attacks.base import check_at_least
from detector.attacks.model import DEFAULT_WAYS
from detector.decoupling import Binariser, Relaxed
from detector.errors import InvalidInputError
from detector.scoring.observation import Observation

__all__ = ["TEMPERATURES", "Descent", "Plan", "View"]

TEMPERATURES: tuple[Binariser, ...] = tuple(Relaxed(t) for t in (0.1, 0.3, 1.0, 3.0, 10.0))
"""Relaxed gates from nearly hard to nearly linear: a thorough choice for `Descent.ways`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One search: from where, through which gates, to what. The same for all images of a batch.

    Args:
        way: How gradients pass the gates.
        start: Number of the start; the first is the image itself, the others are random.
        goals: Wrong class that each image should become, int64 of shape (B,); None for any.
        weight: How much the detector counts beside the class, not negative.
        guides: Gates to imitate, 1 for open and -1 for closed, shape (B, G); None without.
    """

    way: Binariser
    start: int = 0
    goals: Tensor | None = None
    weight: float = 1.0
    guides: Tensor | None = None

    def __getitem__(self, rows: Tensor) -> Plan:
        """The part of some of the images."""
        return replace(
            self,
            goals=None if self.goals is None else self.goals[rows],
            guides=None if self.guides is None else self.guides[rows],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What one step has to go on, N images.

    Args:
        pixels: Where the step is taken from, a leaf that gradients reach, (N, 3, H, W).
        seen: What the network tells about it, with gradients.
        hinge: How far from being misclassified, `class_hinge` through the plan's gates, (N,).
        missed: Whether hard gates still miss what the plan asks of the class, bool of (N,).
        plan: The plan of these images.
        allowed: Largest score of each class that no budget flags, (K,).
    """

    pixels: Tensor
    seen: Observation
    hinge: Tensor
    missed: Tensor
    plan: Plan
    allowed: Tensor

    def gradient(self, losses: Tensor, *, last: bool = True) -> Tensor:
        """Gradient of the sum of losses, (N, 3, H, W); zero where it is not finite.

        Args:
            losses: Of any shape; each depends on one image only.
            last: Whether the graph may go; False where another gradient follows.
        """
        (found,) = torch.autograd.grad(losses.sum(), self.pixels, retain_graph=not last)
        return torch.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)


@dataclass(frozen=True, kw_only=True)
class Descent(AdaptiveAttack):
    """Steps of epsilon / 10 by default, along a direction that a subclass chooses.

    Args:
        epsilon: Largest change of a pixel value, in [0, 1] pixel scale.
        budgets: False-alarm budgets to stay under.
        steps: Number of steps of each search, at least 1. The evaluation of a published figure
            should take 1000; whether fewer do is what `steps_suffice` measures.
        relative_step: Length of a step as a share of epsilon, positive.
        restarts: Number of starts, at least 1; the first is the image itself.
        targets: Number of wrong classes that are tried one by one, the likeliest first, after a
            search for any wrong class; at least 0. All there are where it is larger.
        ways: Ways through the gates, at least one.
        kappa: Margin of the wrong class that is asked for, in units of the class logits.
    """

    steps: int = 100
    relative_step: float = 0.1
    restarts: int = 1
    targets: int = 0
    ways: tuple[Binariser, ...] = DEFAULT_WAYS
    kappa: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("steps", 1), ("restarts", 1), ("targets", 0), ("kappa", 0)):
            check_at_least(name, getattr(self, name), least)
        if not self.relative_step > 0 or not self.ways:
            raise InvalidInputError(
                "relative_step should be positive, and there should be at least one way. "
                f"Found {self.relative_step:g} and {len(self.ways)} ways.",
                field="relative_step",
            )

    @override
    def _search(self, chase: Chase, generator: torch.Generator, on_progress: OnProgress) -> None:
        plans = list(self._plans(chase))
        for done, plan in enumerate(plans, start=1):
            self._follow(plan, chase, generator)
            on_progress(done, len(plans))

    def _plans(self, chase: Chase) -> Iterator[Plan]:
        """All searches, the most promising first."""
        for start, goals, way in product(range(self.restarts), self._goals(chase), self.ways):
            yield Plan(way=way, start=start, goals=goals)

    def _goals(self, chase: Chase) -> list[Tensor | None]:
        """Any wrong class, then the likeliest ones one after the other, each (B,)."""
        return [None, *self._wrong_classes(chase, self.targets)]

    @staticmethod
    def _wrong_classes(chase: Chase, count: int) -> list[Tensor]:
        logits = chase.clean.class_logits
        others = logits.scatter(1, chase.labels[:, None], -torch.inf)
        order = others.argsort(dim=1, descending=True)[:, :-1]  # the true class comes last
        return list(order[:, :count].unbind(dim=1))

    def _follow(self, plan: Plan, chase: Chase, generator: torch.Generator) -> None:
        """One search: every position is judged, also the last one, to which no step is added."""
        rows = torch.nonzero(chase.open).flatten()
        if not len(rows):
            return
        originals = chase.target.preprocessing.scale(chase.originals)
        positions = self._start(plan, originals, generator)
        for step in range(self.steps + 1):
            candidates = chase.ball.round(positions[rows], chase.originals[rows])
            if step == self.steps:
                found = judge_wrong(chase.target, candidates, chase.labels[rows])
                chase.offer(rows, candidates, found)
                return
            view, found = self._look(plan[rows], chase, rows, candidates)
            chase.offer(rows, candidates, found)
            moved = positions[rows] - self._length * self._direction(view, chase)
            positions[rows] = chase.ball.project(moved, originals[rows]).clamp(0, 1)
            rows = rows[chase.open[rows]]
            if not len(rows):
                return

    def _start(self, plan: Plan, originals: Tensor, generator: torch.Generator) -> Tensor:
        # Drawn for all images, also those that need it no more, so that each image's own search
        # depends on no other image.
        noise = torch.rand(originals.shape, generator=generator).to(originals.device) * 2 - 1
        reach = self.epsilon if plan.start else 0.0
        return (originals + reach * noise).clamp(0, 1)

    @property
    def _length(self) -> float:
        return self.relative_step * self.epsilon

    def _look(
        self, plan: Plan, chase: Chase, rows: Tensor, candidates: Tensor
    ) -> tuple[View, Judgement]:
        """What gradients have to go on, and what the detector says, in one pass if possible."""
        target, labels = chase.target, chase.labels[rows]
        pixels = target.preprocessing.scale(candidates).requires_grad_()
        names = self._copies(target.copies)
        seen = observe(target, pixels, plan.way, copies=names)
        if isinstance(plan.way, Relaxed) or len(names) < len(target.copies):
            found = judge_wrong(target, candidates, labels)
        else:
            found = judged(target, seen)
        hard = class_hinge(found.class_logits, labels, plan.goals, kappa=self.kappa)
        view = View(
            pixels=pixels,
            seen=seen,
            hinge=class_hinge(seen.class_logits, labels, plan.goals, kappa=self.kappa),
            missed=hard >= 0,
            plan=plan,
            allowed=chase.strictest,
        )
        return view, found

    def _copies(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The copies that the direction needs: all of the target's, unless a subclass says so."""
        return names

    @abstractmethod
    def _direction(self, view: View, chase: Chase) -> Tensor:
        """Where to go uphill, for a step of length 1; the step is taken the other way.

        Args:
            view: What there is to go on.
            chase: Of whose target the score is.

        Returns:
            Shape (N, 3, H, W).
        """
