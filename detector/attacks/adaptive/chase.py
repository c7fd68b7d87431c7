"""The best images that an attack has seen so far, for each false-alarm budget."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from detector.attacks.adaptive.losses import excess
from detector.attacks.adaptive.observation import Judgement, judge
from detector.attacks.adaptive.target import Target, thresholds
from detector.attacks.balls import LinfBall

__all__ = ["Chase", "Evasion"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evasion:
    """What an adaptive attack came to, for each of A budgets, on the CPU.

    Args:
        budgets: False-alarm budgets, A of them.
        images: The best image for each budget, uint8 of shape (A, B, 3, H, W): misclassified
            and as little suspicious as was found, or the original where nothing was misclassified.
        labels: True classes, int64 of shape (B,).
        original_prediction: Class predicted for the original images, int64 of shape (B,).
        prediction: Class predicted for `images`, int64 of shape (A, B).
        scores: How suspicious they are, shape (A, B).
        flagged: Whether their budget flags them, bool of shape (A, B).
        original_flagged: Whether it flags the original images, bool of shape (A, B).
    """

    budgets: tuple[float, ...]
    images: Tensor
    labels: Tensor
    original_prediction: Tensor
    prediction: Tensor
    scores: Tensor
    flagged: Tensor
    original_flagged: Tensor

    @property
    def right_before(self) -> Tensor:
        """Whether the network was right before, bool of shape (B,): the images that count."""
        return self.original_prediction == self.labels

    @property
    def fooled(self) -> Tensor:
        """Right before and misclassified now, flagged or not, bool of shape (B,)."""
        return self.right_before & (self.prediction != self.labels).any(dim=0)

    @property
    def evaded(self) -> Tensor:
        """Right before, misclassified now and not flagged, bool of shape (A, B)."""
        return self.right_before & (self.prediction != self.labels) & ~self.flagged

    def evaded_at(self, budget: float) -> Tensor:
        """`evaded` at one of the budgets, bool of shape (B,)."""
        return self.evaded[self.budgets.index(budget)]


class Chase:
    """Which images are still to be got past the detector, and the best of each so far.

    Args:
        target: What is attacked, held still.
        images: uint8 images of shape (B, 3, H, W), on the network's device.
        labels: True classes, int64 of shape (B,), there too.
        ball: How far images may change.
        budgets: False-alarm budgets, A of them.
    """

    def __init__(
        self,
        target: Target,
        images: Tensor,
        labels: Tensor,
        ball: LinfBall,
        budgets: tuple[float, ...],
    ) -> None:
        self.target, self.originals, self.labels = target, images, labels
        self.ball, self.budgets = ball, budgets
        self.clean = judge(target, images)
        classes = self.clean.class_logits.shape[1]
        self.allowed = torch.stack(
            [thresholds(target.flags, alpha, classes) for alpha in budgets]
        ).to(images.device)  # (A, K)
        self._best = images.repeat(len(budgets), 1, 1, 1, 1)  # (A, B, 3, H, W)
        self._excess = torch.full((len(budgets), len(images)), torch.inf, device=images.device)
        self._fooled = torch.zeros(len(images), dtype=torch.bool, device=images.device)

    @property
    def strictest(self) -> Tensor:
        """The largest score of each class that no budget flags, shape (K,)."""
        return self.allowed.amin(dim=0)

    @property
    def open(self) -> Tensor:
        """Images that were right before and that some budget still flags, bool of shape (B,)."""
        evades = (self._excess <= 0).all(dim=0) & self._fooled
        return (self.clean.predicted == self.labels) & ~evades

    def offer(self, rows: Tensor, candidates: Tensor, found: Judgement) -> None:
        """Keep those candidates that are misclassified and less suspicious than what was found.

        Args:
            rows: Which images they were made from, int64 of shape (N,).
            candidates: uint8 images of shape (N, 3, H, W).
            found: What the detector says about them.
        """
        predicted = found.predicted
        fooled = predicted != self.labels[rows]
        for place, largest in enumerate(self.allowed):
            above = excess(found.scores, predicted, largest).to(self._excess.dtype)
            better = fooled & ((above < self._excess[place, rows]) | ~self._fooled[rows])
            self._best[place, rows[better]] = candidates[better]
            self._excess[place, rows[better]] = above[better]
        self._fooled[rows] |= fooled

    def result(self) -> Evasion:
        """What came of it, judged once more: image by image nothing is taken on trust."""
        found = [judge(self.target, images) for images in self._best]
        return Evasion(
            budgets=self.budgets,
            images=self._best.cpu(),
            labels=self.labels.cpu(),
            original_prediction=self.clean.predicted.cpu(),
            prediction=torch.stack([each.predicted for each in found]).cpu(),
            scores=torch.stack([each.scores for each in found]).cpu(),
            flagged=torch.stack(
                [self._flagged(each, b) for each, b in zip(found, self.budgets, strict=True)]
            ),
            original_flagged=torch.stack([self._flagged(self.clean, b) for b in self.budgets]),
        )

    def _flagged(self, found: Judgement, alpha: float) -> Tensor:
        scores = found.scores.cpu()
        flagged = self.target.flags(scores, found.predicted.cpu(), alpha)
        # Nothing is promised about such an image, and the service does not call it on path.
        return flagged | ~scores.isfinite()
