"""All scores of an image's own path: what is known after one pass of the network."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from detector.paths import PathLayout
from detector.scoring.bernoulli import BernoulliScore
from detector.scoring.confidence import Confidence
from detector.scoring.disagreement import Disagreement
from detector.scoring.layer_score import LayerScore
from detector.scoring.mahalanobis import ActivationDistance, GateLogitDistance
from detector.scoring.neighbours import HammingNeighbours
from detector.scoring.observation import Observation
from detector.scoring.score import CleanImages, Score

__all__ = ["PathScores"]


class PathScores(nn.Module):
    """The scores side by side, fitted together.

    Args:
        layout: Which gates belong to which layer.
        classes: Number of classes, K.
    """

    def __init__(self, layout: PathLayout, classes: int) -> None:
        super().__init__()
        self.layout = layout
        self.classes = classes
        self.scores = nn.ModuleDict(
            {
                "bits": BernoulliScore(layout, classes),
                "gate-logits": GateLogitDistance(layout, classes),
                "activations": ActivationDistance(layout, classes),
                "confidence": Confidence(layout, classes),
                "disagreement": Disagreement(layout, classes),
                "neighbours": HammingNeighbours(layout, classes),
            }
        )
        # Counted once: to write thousands of names costs a batch more than some of the scores do.
        self._widths = {key: len(score.names) for key, score in self._items()}

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each of the S statistics, as ``bits/own:layer1.0.conv1``."""
        return tuple(f"{key}/{name}" for key, score in self._items() for name in score.names)

    @property
    def width(self) -> int:
        """Number of the statistics, S."""
        return sum(self._widths.values())

    @property
    def open_rates(self) -> Tensor:
        """Share of clean images of each class that open each gate, float of shape (K, G)."""
        return cast("BernoulliScore", self.scores["bits"]).open_rates

    @classmethod
    def from_state(cls, layout: PathLayout, classes: int, state: dict[str, Tensor]) -> Self:
        """The scores whose ``state_dict`` this is.

        Args:
            layout: Which gates belong to which layer.
            classes: Number of classes, K.
            state: Their tensors.

        Raises:
            KeyError, RuntimeError: If the state is not that of such scores.
        """
        scores = cls(layout, classes)
        for key, score in scores._items():
            prefix = f"scores.{key}."
            score.restore(
                {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            )
        scores.load_state_dict(state)  # refuses what belongs to no score
        return scores.eval()

    def fit(self, clean: CleanImages) -> Self:
        """Fit all scores; the same object.

        Args:
            clean: Clean images that the network gets right.

        Raises:
            ValueError: If they are of another layout or number of classes.
        """
        for _, score in self._items():
            score.fit(clean)
        return self

    def forward(self, seen: Observation, only: Collection[str] | None = None) -> Tensor:
        """All statistics of a batch, float of shape (B, S), each higher for more suspicious.

        Args:
            seen: What the network told about the images; copies are not read.
            only: Keys of the scores that are wanted, such as ``bits``; the statistics of others
                are 0. By default all.
        """
        nothing = seen.class_logits.new_zeros(())
        parts = [
            cast("Tensor", score(seen))
            if only is None or key in only
            else nothing.expand(len(seen), self._widths[key])
            for key, score in self._items()
        ]
        return torch.cat(parts, dim=1)

    def keys_of(self, statistics: Iterable[str]) -> frozenset[str]:
        """Keys of the scores that have statistics of these names.

        Where none of these looks at the path layer by layer, all that do come with them: without
        any, the layers would have no weights.

        Args:
            statistics: Names such as ``bits/own:layer1.0.conv1``.
        """
        wanted = {name.partition("/")[0] for name in statistics}
        by_layer = {key for key, score in self._items() if isinstance(score, LayerScore)}
        wanted |= set() if wanted & by_layer else by_layer
        return frozenset(wanted & self.scores.keys())

    def layer_weights(self, statistics: Tensor) -> Tensor:
        """Share of each layer in how far the paths lie from their classes.

        They describe the path, not the score, in which other things count as well. Scores that
        were not wanted, and so are 0, have no part in them.

        Args:
            statistics: What `forward` gave, (B, S).

        Returns:
            Not negative, float of shape (B, L), each row with the sum 1.
        """
        parts = torch.split(statistics, list(self._widths.values()), dim=1)
        layers = self.layout.layers
        far = [
            # own and margin: each layer's, then the sum over layers, which is left out.
            part.view(len(part), 2, layers + 1)[:, :, :layers]
            for (_, score), part in zip(self._items(), parts, strict=True)
            if isinstance(score, LayerScore)
        ]
        # Only what lies further out than usual counts; a trace keeps the sum above zero.
        excess = functional.relu(torch.cat(far, dim=1)).sum(dim=1) + 1e-6  # (B, L)
        return excess / excess.sum(dim=1, keepdim=True)

    def _items(self) -> list[tuple[str, Score]]:
        return [(key, cast("Score", score)) for key, score in self.scores.items()]
