"""How far a network changes its mind over an image when the image is copied a little differently.

Clean images keep path, class and margins under a flip or a shift by one pixel; what an attack won
with finely tuned pixels falls apart. Which way that moves a statistic is known beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from detector.paths import PathLayout
from detector.scoring.observation import Observation
from detector.scoring.score import CleanImages, Score

__all__ = ["MARGIN_FALL", "PROBABILITY_FALL", "Stability"]

MARGIN_FALL = "margin-fall"
"""Largest fall of the margin over any one class."""

PROBABILITY_FALL = "probability-fall"
"""Fall of the probability of the predicted class."""

_STATISTICS = (
    MARGIN_FALL,
    PROBABILITY_FALL,
    "disagreement",
    "path-bits",
    "path-logits",
    "path-activations",
)


class Stability(Score):
    r"""What changes between images and each of their copies.

    With the predicted class c of an image x, the margins :math:`m_j = z_c - z_j` of its class
    logits z, and a copy x', the statistics are, each higher for what is more suspicious:

    .. math::
        \text{margin-fall} &= -\min_{j \ne c} \left( m_j(x') - m_j(x) \right) \\
        \text{probability-fall} &= p_c(x) - p_c(x') \\
        \text{disagreement} &= [\arg\max_j z_j(x') \ne c]

    which attacks of every kind raise as far as is known, and the distances of the two paths: the
    share of gates that differ and the mean absolute differences of gate logits and of pooled
    activations, which most attacks raise and very confident ones can lower. Nothing is fitted.

    Args:
        layout: Which gates belong to which layer.
        classes: Number of classes, K.
        copies: Name of each copy, at least one, each once.

    Raises:
        ValueError: If there is no copy, or one stands twice.
    """

    def __init__(self, layout: PathLayout, classes: int, copies: Sequence[str]) -> None:
        if not copies or len(set(copies)) != len(copies):
            raise ValueError(
                f"Stability should have at least one copy, each once. Found {list(copies)}."
            )
        super().__init__(layout, classes, copies=tuple(copies))

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return tuple(f"{statistic}:{copy}" for copy in self.copies for statistic in _STATISTICS)

    @override
    def _fit(self, clean: CleanImages) -> None:
        pass

    @override
    def _score(self, seen: Observation) -> Tensor:
        parts = [_changes(seen, seen.copies[name]) for name in self.copies]
        return torch.cat(parts, dim=1)


def _changes(seen: Observation, copy: Observation) -> Tensor:
    """The statistics of one copy, (B, 6)."""
    predicted = seen.predicted.unsqueeze(1)  # (B, 1)
    change = copy.class_logits - seen.class_logits  # (B, K)
    margin = change.gather(1, predicted) - change  # of each m_j
    # The class itself has the margin 0 everywhere: it would cap a rise of all others.
    least = margin.scatter(1, predicted, torch.inf).amin(dim=1)
    before, after = (
        each.class_logits.softmax(dim=1).gather(1, predicted).squeeze(1) for each in (seen, copy)
    )
    disagrees = (copy.predicted != seen.predicted).to(change.dtype)
    pairs = (
        (seen.path.bits.to(change.dtype), copy.path.bits.to(change.dtype)),
        (seen.path.logits, copy.path.logits),
        (seen.path.activations, copy.path.activations),
    )
    distances = [(other - own).abs().mean(dim=1) for own, other in pairs]
    return torch.stack([-least, before - after, disagrees, *distances], dim=1)
