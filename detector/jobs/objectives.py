"""What training minimises: a network with its loss, as one module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from detector.decoupling import (
    DecoupledNetwork,
    DecoupledOutput,
    DecouplingLoss,
    GateNoise,
    HardeningTerm,
    LossTerms,
)
from detector.decoupling.hardening import shifted_by_one_pixel

__all__ = ["DecoupledObjective", "HardenedObjective", "Objective", "PlainObjective", "StepLoss"]


class StepLoss(NamedTuple):
    """The loss of one batch; a tuple, which compilation and data-parallel training can return.

    Args:
        total: What is minimised, a scalar with gradient.
        terms: What it is made of, scalars without gradient, by name.
    """

    total: Tensor
    terms: dict[str, Tensor]


class Objective(nn.Module, ABC):
    """What a phase minimises: a network with its loss, as one module.

    One module, so that compilation and data-parallel training see the whole step.
    """

    network: nn.Module

    @abstractmethod
    def forward(self, images: Tensor, targets: Tensor, noise: GateNoise | None) -> StepLoss:
        """The loss of one batch."""

    @abstractmethod
    def noise(
        self, images: int, std: float, hard_share: float, generator: torch.Generator
    ) -> GateNoise | None:
        """The random part of one step, drawn outside of the network."""


class PlainObjective(Objective):
    """Cross-entropy of the plain network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @override
    def forward(self, images: Tensor, targets: Tensor, noise: GateNoise | None) -> StepLoss:
        return StepLoss(functional.cross_entropy(self.network(images).float(), targets), {})

    @override
    def noise(
        self, images: int, std: float, hard_share: float, generator: torch.Generator
    ) -> GateNoise | None:
        return None


class DecoupledObjective(Objective):
    """All terms of the decoupled network's loss."""

    def __init__(self, network: DecoupledNetwork, loss: DecouplingLoss) -> None:
        super().__init__()
        self.network: DecoupledNetwork = network
        self.loss = loss

    @override
    def forward(self, images: Tensor, targets: Tensor, noise: GateNoise | None) -> StepLoss:
        return self._step_loss(self.network(images, noise), targets)

    def _step_loss(self, output: DecoupledOutput, targets: Tensor) -> StepLoss:
        found: LossTerms = self.loss(output, targets)
        terms = {
            "classification": found.classification,
            "alignment": found.alignment,
            "information": found.information,
            "sparsity": found.sparsity,
        }
        return StepLoss(found.total, terms)

    @override
    def noise(
        self, images: int, std: float, hard_share: float, generator: torch.Generator
    ) -> GateNoise | None:
        return GateNoise.draw(
            images,
            self.network.layout.gates,
            std=std,
            hard_share=hard_share,
            generator=generator,
        )


class HardenedObjective(DecoupledObjective):
    """The decoupled network's loss, with terms that keep it where it is under small changes.

    Args:
        network: The decoupled network.
        loss: What it is trained for beside.
        hardening: What is added, each with its weight.
    """

    def __init__(
        self,
        network: DecoupledNetwork,
        loss: DecouplingLoss,
        hardening: tuple[HardeningTerm, ...],
    ) -> None:
        super().__init__(network, loss)
        self.hardening = hardening

    @override
    def forward(self, images: Tensor, targets: Tensor, noise: GateNoise | None) -> StepLoss:
        output: DecoupledOutput = self.network(images, noise)
        copies: DecoupledOutput | None = None
        if any(term.sees_copies for term in self.hardening):
            # The same noise, so that what differs comes from the images.
            copies = self.network(shifted_by_one_pixel(images), noise)
        total, terms = self._step_loss(output, targets)
        for term in self.hardening:
            value = term(output, copies)
            total = total + term.weight * value
            terms = terms | {term.name: value.detach()}
        return StepLoss(total, terms)
