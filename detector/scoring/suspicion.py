"""From a path and the class logits to one score."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detector.paths import PathLayout, PathVectors
from detector.scoring.features import PathFeatures, SuspicionFeatures
from detector.scoring.trees import TreeEnsemble

__all__ = ["Suspicion", "SuspicionScores"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SuspicionScores:
    """How suspicious each image is.

    Args:
        scores: Higher is more suspicious, float32 of shape (B,); NaN where the network's output
            was not finite.
        layer_weights: Share of each layer in how far the path lies from its class, (B, L).
    """

    scores: Tensor
    layer_weights: Tensor


class Suspicion(nn.Module):
    """The fitted detector, without the network and without a threshold.

    Its ``state_dict`` holds all of it; `from_state` builds it again.

    Args:
        features: Fitted features.
        trees: Fitted classifier on them.

    Raises:
        ValueError: If the trees read more features than there are.
    """

    def __init__(self, features: PathFeatures, trees: TreeEnsemble) -> None:
        super().__init__()
        if trees.features > len(features.names):
            raise ValueError(
                f"The classifier should read at most {len(features.names)} features. "
                f"Found {trees.features}."
            )
        self.features = features
        self.trees = trees

    @property
    def layout(self) -> PathLayout:
        """Which gates belong to which layer."""
        return self.features.layout

    @classmethod
    def from_state(cls, layout: PathLayout, classes: int, state: dict[str, Tensor]) -> Suspicion:
        """The detector whose ``state_dict`` this is.

        Args:
            layout: Which gates belong to which layer.
            classes: Number of classes, K.
            state: Its tensors.

        Raises:
            KeyError, RuntimeError, ValueError, TypeError: If the state is not that of such a
                detector.
        """
        prefix = "trees."
        arrays = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        suspicion = cls(PathFeatures(layout, classes), TreeEnsemble(**arrays))
        suspicion.load_state_dict(state)
        return suspicion.eval()

    def forward(
        self, path: PathVectors, class_logits: Tensor, predicted: Tensor
    ) -> SuspicionScores:
        """Score a batch.

        Args:
            path: The paths.
            class_logits: Shape (B, K).
            predicted: Predicted class of each image, int64 of shape (B,).
        """
        found: SuspicionFeatures = self.features(path, class_logits, predicted)
        scores = self.trees(found.values).to(torch.float32)
        # Trees would take a side on NaN: it has to show in the score instead.
        finite = found.values.sum(dim=1).isfinite()
        return SuspicionScores(
            scores=torch.where(finite, scores, torch.nan),
            layer_weights=found.layer_weights,
        )
