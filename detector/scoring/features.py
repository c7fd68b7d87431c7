"""All that is known about a path, as one row of standardised numbers for the classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from detector.paths import PathLayout, PathVectors
from detector.scoring.bernoulli import BernoulliScore
from detector.scoring.layer_score import LayerDeviation, LayerScore
from detector.scoring.mahalanobis import ActivationDistance, GateLogitDistance
from detector.scoring.statistics import PathStatistics

__all__ = ["LOGIT_STATISTICS", "PathFeatures", "SuspicionFeatures", "logit_statistics"]

LOGIT_STATISTICS = ("log-probability", "logit-margin", "energy")
"""What `logit_statistics` tells of the class logits, in its order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SuspicionFeatures:
    """What the classifier reads, and in which layers the path lies far from its class.

    Args:
        values: Float of shape (B, F).
        layer_weights: Share of each layer in how far the path lies from its class: not negative,
            float of shape (B, L), each row with the sum 1. They describe the path, not the score,
            which comes from trees over all values.
    """

    values: Tensor
    layer_weights: Tensor


def logit_statistics(class_logits: Tensor) -> Tensor:
    """Log-probability of the predicted class, its margin over the next one, and the energy.

    Args:
        class_logits: Shape (B, K), K at least 2.

    Returns:
        Shape (B, 3). Attacks move each of them in either direction: over-confident ones up,
        those that stop at the boundary down.
    """
    largest = class_logits.topk(2, dim=1).values
    energy = class_logits.logsumexp(dim=1)
    return torch.stack([largest[:, 0] - energy, largest[:, 0] - largest[:, 1], energy], dim=1)


class PathFeatures(nn.Module):
    """Per-layer scores of each kind, their sums over layers, and the class logits' statistics.

    Args:
        layout: Which gates belong to which layer.
        classes: Number of classes, K.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, layout: PathLayout, classes: int) -> None:
        super().__init__()
        self.layout = layout
        self.classes = classes
        self.scores = nn.ModuleDict(
            {
                "bits": BernoulliScore(layout, classes),
                "gate_logits": GateLogitDistance(layout, classes),
                "activations": ActivationDistance(layout, classes),
            }
        )
        raw = 2 * len(self.scores) * layout.layers + len(LOGIT_STATISTICS)
        self.register_buffer("centre", torch.zeros(raw))
        self.register_buffer("scale", torch.ones(raw))

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each feature, F of them."""
        kinds = [f"{score}-{aspect}" for score in self.scores for aspect in ("own", "margin")]
        return (
            *(f"{kind}:{layer}" for kind in kinds for layer in self.layout.names),
            *LOGIT_STATISTICS,
            *(f"{kind}:all" for kind in kinds),
        )

    def fit(self, statistics: PathStatistics) -> Self:
        """Fit all scores.

        Args:
            statistics: Sums over clean paths, at least one of each class.

        Raises:
            CalibrationError: If a class has no path.
        """
        for score in self.scores.values():
            cast("LayerScore", score).fit(statistics)
        return self

    def standardise(self, raw: Tensor) -> None:
        """Make clean images have mean 0 and deviation 1 in each score.

        Args:
            raw: What `measure` gives for clean images, best others than those of `fit`, (N, R).
        """
        self.centre.copy_(raw.mean(dim=0))
        deviation = raw.std(dim=0, correction=0)
        # A score that never varies says nothing: leave its scale as it is.
        self.scale.copy_(torch.where(deviation > 1e-6, deviation, 1.0))

    def measure(self, path: PathVectors, class_logits: Tensor, predicted: Tensor) -> Tensor:
        """The scores before they are standardised, shape (B, R)."""
        parts = []
        for score in self.scores.values():
            deviation: LayerDeviation = score(path, predicted)
            parts += [deviation.own, deviation.margin]
        return torch.cat([*parts, logit_statistics(class_logits)], dim=1)

    def forward(
        self, path: PathVectors, class_logits: Tensor, predicted: Tensor
    ) -> SuspicionFeatures:
        """Features of a batch.

        Args:
            path: The paths.
            class_logits: Shape (B, K).
            predicted: Predicted class of each image, int64 of shape (B,).

        Raises:
            ValueError: If shapes do not fit each other or the layout.
        """
        raw = self.measure(path, class_logits, predicted)
        values = (raw - self.centre) / self.scale
        layers = values[:, : -len(LOGIT_STATISTICS)].view(len(raw), -1, self.layout.layers)
        # Only what lies further out than usual counts; a trace keeps the sum above zero.
        excess = functional.relu(layers).sum(dim=1) + 1e-6  # (B, L)
        return SuspicionFeatures(
            values=torch.cat([values, layers.sum(dim=2)], dim=1),
            layer_weights=excess / excess.sum(dim=1, keepdim=True),
        )
