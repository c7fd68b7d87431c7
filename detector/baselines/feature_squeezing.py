"""How far the prediction moves when the image is squeezed."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from detector.baselines.baseline import Baseline
from detector.paths import PathLayout
from detector.scoring.observation import Observation

__all__ = ["SQUEEZERS", "FeatureSqueezing"]

SQUEEZERS = ("bits:5", "median:3")
"""One squeezer of colour and one of space, as names of `detector.copies`."""


class FeatureSqueezing(Baseline):
    r"""Largest distance between the probabilities of an image and those of its squeezed copies.

    .. math:: s(x) = \max_{x'} \lVert p(x) - p(x') \rVert_1 \in [0, 2]

    The paper's best combination for CIFAR-10 has a third squeezer, non-local means, and a median
    over 2 x 2 pixels.

    Args:
        layout: Which gates belong to which layer.
        classes: Number of classes, K, at least 2.
        copies: Names of the squeezed copies, at least one.

    Raises:
        ValueError: If there is no copy.

    Reference:
        Xu et al., "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks",
        NDSS 2018.
    """

    name: ClassVar[str] = "feature-squeezing"

    def __init__(
        self, layout: PathLayout, classes: int, *, copies: tuple[str, ...] = SQUEEZERS
    ) -> None:
        super().__init__(layout, classes, copies=copies)
        if not copies:
            raise ValueError("FeatureSqueezing should be given at least one copy. Found none.")

    @override
    def _number(self, seen: Observation) -> Tensor:
        before = seen.class_logits.softmax(dim=1)  # (B, K)
        after = torch.stack([seen.copies[name].class_logits for name in self.copies])
        return (after.softmax(dim=2) - before).abs().sum(dim=2).amax(dim=0)  # (n, B, K) -> (B,)
