"""A search that needs scores only: what a detector that masks its gradients cannot hide from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from detector.attacks.adaptive.base import AdaptiveAttack, OnProgress
from detector.attacks.adaptive.chase import Chase
from detector.attacks.adaptive.losses import class_hinge, excess
from detector.attacks.adaptive.observation import judge_wrong
from detector.attacks.base import check_at_least

__all__ = ["GradientFree"]

_LARGEST_SHARE = 0.3
"""Share of the image that the first squares cover."""


@dataclass(frozen=True, kw_only=True)
class GradientFree(AdaptiveAttack):
    """Random search over squares, first for the class and then for the detector's score.

    A square of the image moves to corners of the ball, smaller and smaller ones. It stays where
    the hard margin falls or, once the image is misclassified, where it remains so and the score
    falls. Of the detector it sees what a caller sees: class and score.

    Args:
        epsilon: Largest change of a pixel value, in [0, 1] pixel scale.
        budgets: False-alarm budgets to stay under.
        queries: Number of candidates of each image, at least 1.

    Reference:
        Andriushchenko et al., "Square Attack: a Query-efficient Black-box Adversarial Attack via
        Random Search", ECCV 2020, for squares and their schedule.
    """

    queries: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("queries", self.queries, 1)

    @override
    def _search(self, chase: Chase, generator: torch.Generator, on_progress: OnProgress) -> None:
        originals = chase.target.preprocessing.scale(chase.originals)
        current = originals.clone()
        # Two losses, the first of which counts more: how far from the wrong class, and the score.
        hinge = class_hinge(chase.clean.class_logits, chase.labels).clamp_min(0)
        above = torch.full_like(hinge, torch.inf)
        for query in range(self.queries):
            changed = self._with_square(current, originals, query, generator)
            rows = torch.nonzero(chase.open).flatten()
            if not len(rows):
                return
            candidates = chase.ball.round(changed[rows], chase.originals[rows])
            found = judge_wrong(chase.target, candidates, chase.labels[rows])
            chase.offer(rows, candidates, found)
            # Exactly on the boundary the lower index wins: it is no success unless predicted.
            wrong = found.predicted != chase.labels[rows]
            margin = class_hinge(found.class_logits, chase.labels[rows]).clamp_min(0)
            margin = torch.where(wrong, 0.0, margin)
            score = excess(found.scores, found.predicted, chase.strictest).to(above.dtype)
            better = (margin < hinge[rows]) | ((margin == hinge[rows]) & (score <= above[rows]))
            chosen = rows[better]
            current[chosen] = changed[chosen]
            hinge[chosen], above[chosen] = margin[better], score[better]
            on_progress(query + 1, self.queries)

    def _with_square(
        self, current: Tensor, originals: Tensor, query: int, generator: torch.Generator
    ) -> Tensor:
        """All images, each with a square of its own moved to a corner of the ball."""
        images, channels, height, width = current.shape
        side = _side(min(height, width), query / self.queries)
        top = torch.randint(height - side + 1, (images, 1), generator=generator)
        left = torch.randint(width - side + 1, (images, 1), generator=generator)
        rows, columns = torch.arange(height), torch.arange(width)
        down = (rows >= top) & (rows < top + side)  # (B, H)
        across = (columns >= left) & (columns < left + side)  # (B, W)
        square = (down[:, :, None] & across[:, None, :])[:, None].to(current.device)
        signs = torch.randint(2, (images, channels, 1, 1), generator=generator) * 2 - 1
        corner = (originals + self.epsilon * signs.to(current)).clamp(0, 1)
        return torch.where(square, corner, current)


def _side(shorter: int, done: float) -> int:
    """Side of the squares, pixels: their share halves six times, more often early on."""
    halvings = 6 * math.sqrt(done)
    return max(1, min(shorter, round(shorter * math.sqrt(_LARGEST_SHARE / 2**halvings))))
