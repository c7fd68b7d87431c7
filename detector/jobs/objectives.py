"""What training minimises: a network with its loss, as one module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, Self

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
    """All terms of the decoupled network's loss.

    Args:
        network: The decoupled network.
        loss: What it is trained for.
        teacher: Plain network whose class logits the loss's distillation reads; None for none. It
            is left as it is.
    """

    def __init__(
        self, network: DecoupledNetwork, loss: DecouplingLoss, teacher: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.network: DecoupledNetwork = network
        self.loss = loss
        self.teacher = teacher
        if teacher is not None:
            teacher.eval().requires_grad_(requires_grad=False)

    @override
    def train(self, mode: bool = True) -> Self:
        """Train, or stop training, all but the teacher."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    @override
    def forward(self, images: Tensor, targets: Tensor, noise: GateNoise | None) -> StepLoss:
        return self._step_loss(self.network(images, noise), images, targets)

    def _step_loss(self, output: DecoupledOutput, images: Tensor, targets: Tensor) -> StepLoss:
        taught: Tensor | None = None
        if self.teacher is not None:
            with torch.no_grad():
                taught = self.teacher(images)
        found: LossTerms = self.loss(output, targets, taught)
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
        teacher: Plain network whose class logits the loss's distillation reads; None for none.
    """

    def __init__(
        self,
        network: DecoupledNetwork,
        loss: DecouplingLoss,
        hardening: tuple[HardeningTerm, ...],
        teacher: nn.Module | None = None,
    ) -> None:
        super().__init__(network, loss, teacher)
        self.hardening = hardening

    @override
    def forward(self, images: Tensor, targets: Tensor, noise: GateNoise | None) -> StepLoss:
        output: DecoupledOutput = self.network(images, noise)
        copies: DecoupledOutput | None = None
        if any(term.sees_copies for term in self.hardening):
            # The same noise, so that what differs comes from the images.
            copies = self.network(shifted_by_one_pixel(images), noise)
        total, terms = self._step_loss(output, images, targets)
        for term in self.hardening:
            value = term(output, copies)
            total = total + term.weight * value
            terms = terms | {term.name: value.detach()}
        return StepLoss(total, terms)
