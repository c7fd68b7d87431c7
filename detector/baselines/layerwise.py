"""What the baselines keep that look at each layer by itself."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from typing_extensions import override

from detector.baselines.baseline import Baseline
from detector.paths import PathLayout
from detector.scoring.observation import Observation
from detector.scoring.score import CleanImages

__all__ = ["LayerwiseBaseline"]

_LEAST_DEVIATION = 1e-6


class LayerwiseBaseline(Baseline):
    r"""One measure of the pooled activations a layer, standardised by clean images and summed.

    .. math:: s(x) = \sum_l \frac{m_l(x) - \mu_l}{\sigma_l}

    The papers weigh the layers by a logistic regression on the very attack that is to be detected.
    The sum has seen no attack; whoever wants the regression fits it on `layers`.

    Args:
        layout: Which gates belong to which layer.
        classes: Number of classes, K, at least 2.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, layout: PathLayout, classes: int) -> None:
        super().__init__(layout, classes)
        self.register_buffer("centre", torch.zeros(layout.layers))
        self.register_buffer("scale", torch.ones(layout.layers))

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Name of each number of `layers`, as ``mahalanobis:layer1.0.conv1``."""
        return tuple(f"{self.name}:{layer}" for layer in self.layout.names)

    def layers(self, seen: Observation) -> Tensor:
        """The standardised measure of each layer, the sum of which is the score.

        Args:
            seen: What the network told about the images.

        Returns:
            Float of shape (B, L), higher is more suspicious.

        Raises:
            ValueError: If the layout is another.
        """
        if seen.path.layout != self.layout:
            raise ValueError(
                f"Images should have {self.layout.gates} gates. Found {seen.path.layout.gates}."
            )
        measured = self._measure(seen.path.activations.to(self.centre.dtype))
        return (measured - self.centre) / self.scale

    @override
    def _fit(self, clean: CleanImages) -> None:
        measured = self._learn(clean)
        self.centre.copy_(measured.mean(dim=0))
        deviation = measured.std(dim=0, correction=0)
        # A layer that never varies says nothing: leave its scale as it is.
        self.scale.copy_(torch.where(deviation > _LEAST_DEVIATION, deviation, 1.0))

    @override
    def _number(self, seen: Observation) -> Tensor:
        return self.layers(seen).sum(dim=1)

    @abstractmethod
    def _learn(self, clean: CleanImages) -> Tensor:
        """Fill the other buffers; m of clean images, none of them compared with itself, (N, L)."""

    @abstractmethod
    def _measure(self, activations: Tensor) -> Tensor:
        """The measure m of pooled activations, (B, G) -> (B, L)."""
