"""Whether the path belongs to another class than the one that the classifier predicts."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from detector.paths import PathLayout
from detector.scoring.bernoulli import BernoulliScore
from detector.scoring.observation import Observation
from detector.scoring.score import CleanImages, Score

__all__ = ["Disagreement"]


class Disagreement(Score):
    """Path against classifier, by the likelihood of the bits.

    ``path`` is the log-likelihood of the whole path under the best other class less that under the
    predicted one, positive where the two disagree; ``layers`` is the share of layers whose part of
    the path that other class explains better; ``depth`` is the place, from 0 at the input to 1 at
    the output, behind which the predicted class explains the path better than the other one again:
    near 1 where even the last layers disagree.

    Args:
        layout: Which gates belong to which layer.
        classes: Number of classes, K.
    """

    def __init__(self, layout: PathLayout, classes: int) -> None:
        super().__init__(layout, classes)
        self.likelihood = BernoulliScore(layout, classes)

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return ("path", "layers", "depth")

    @override
    def _fit(self, clean: CleanImages) -> None:
        self.likelihood.fit(clean)

    @override
    def _score(self, seen: Observation) -> Tensor:
        margin = self.likelihood.deviation(seen.path, seen.predicted).margin  # (B, L)
        against = (margin > 0).to(margin.dtype)
        places = torch.arange(1, self.layout.layers + 1, device=margin.device)
        last = (against * places).amax(dim=1) / self.layout.layers
        return torch.stack([margin.sum(dim=1), against.mean(dim=1), last], dim=1)
