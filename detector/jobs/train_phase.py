"""One phase of training: stochastic gradient descent that can stop and continue."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from typing_extensions import override

from detector.decoupling import DecoupledNetwork, DecouplingLoss, GateNoise, LossTerms
from detector.decoupling.recipes import Phase
from detector.jobs.batches import TrainingBatches, seeded, training_loader
from detector.jobs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from detector.jobs.progress import Progress

__all__ = ["DecoupledObjective", "Objective", "PhaseRun", "PlainObjective", "StepBudget"]

_MOMENTUM = 0.9
_SMALL_SIDE = 0.75


class Objective(nn.Module, ABC):
    """What a phase minimises: a network with its loss, as one module.

    One module, so that compilation and data-parallel training see the whole step.
    """

    network: nn.Module

    @abstractmethod
    def forward(self, images: Tensor, targets: Tensor, noise: GateNoise | None) -> Tensor:
        """The loss of one batch, a scalar."""

    @abstractmethod
    def noise(self, images: int, std: float, generator: torch.Generator) -> GateNoise | None:
        """The random part of one step, drawn outside of the network."""


class PlainObjective(Objective):
    """Cross-entropy of the plain network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @override
    def forward(self, images: Tensor, targets: Tensor, noise: GateNoise | None) -> Tensor:
        return functional.cross_entropy(self.network(images).float(), targets)

    @override
    def noise(self, images: int, std: float, generator: torch.Generator) -> GateNoise | None:
        return None


class DecoupledObjective(Objective):
    """All terms of the decoupled network's loss."""

    def __init__(self, network: DecoupledNetwork, loss: DecouplingLoss) -> None:
        super().__init__()
        self.network: DecoupledNetwork = network
        self.loss = loss

    @override
    def forward(self, images: Tensor, targets: Tensor, noise: GateNoise | None) -> Tensor:
        terms: LossTerms = self.loss(self.network(images, noise), targets)
        return terms.total

    @override
    def noise(self, images: int, std: float, generator: torch.Generator) -> GateNoise | None:
        return GateNoise.draw(images, self.network.layout.gates, std=std, generator=generator)


class StepBudget:
    """How many steps this run may still take, over all phases.

    Args:
        steps: Steps in all; None for as many as the recipe has.
    """

    def __init__(self, steps: int | None) -> None:
        self._left = steps

    def spend(self) -> None:
        """Count one step."""
        if self._left is not None:
            self._left -= 1

    @property
    def spent(self) -> bool:
        """Whether the run has to stop now."""
        return self._left is not None and self._left <= 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseRun:
    """One phase, ready to run.

    Args:
        title: What progress bars call it.
        phase: Epochs, learning rate and the rest.
        seed: Seed of order, augmentation and noise.
        batches: Augmented training images.
        accelerator: Device, precision and processes.
        compiled: Whether to compile the objective.
        workers: Processes that read images ahead.
        checkpoint: File that holds the phase's state.
        fingerprint: What the checkpoint has to agree with.
        checkpoint_every_s: Longest time between two checkpoints, seconds.
        budget: Steps that this run may take.
    """

    title: str
    phase: Phase
    seed: int
    batches: TrainingBatches
    accelerator: Accelerator
    compiled: bool
    workers: int
    checkpoint: Path
    fingerprint: str
    checkpoint_every_s: float
    budget: StepBudget

    def run(self, objective: Objective, after_epoch: Callable[[int, Objective], None]) -> bool:
        """Train to the end of the phase, from the checkpoint where there is one.

        Args:
            objective: What to minimise; it ends with the averaged weights if the phase averages.
            after_epoch: Called with the number of epochs done and the objective as it stands.

        Returns:
            False if the step budget ended first.
        """
        objective.to(self.accelerator.device)
        objective.to(memory_format=torch.channels_last)
        state = _PhaseState(objective, self.phase)
        found = load_checkpoint(self.checkpoint, self.fingerprint)
        if found is not None:
            state.restore(found)
        finished = self._descend(state, after_epoch)
        self._save(state)
        if finished:
            objective.load_state_dict(state.result.state_dict())
        return finished

    def _descend(self, state: _PhaseState, after_epoch: Callable[[int, Objective], None]) -> bool:
        model = self.accelerator.prepare_model(state.objective)
        if self.compiled:
            model = cast("nn.Module", torch.compile(model))
        loader = self.accelerator.prepare_data_loader(
            training_loader(self.batches, workers=self.workers)
        )
        order = self.batches.order
        order.move_to(0, 0)
        per_epoch = len(loader)
        batch = order.batch_size * self.accelerator.num_processes
        total = self.phase.epochs * per_epoch
        saved = time.monotonic()
        with Progress.shown(
            self.title,
            total * batch,
            done=state.step * batch,
            quiet=not self.accelerator.is_main_process,
        ) as progress:
            for epoch in range(state.step // per_epoch, self.phase.epochs):
                skipped = state.step - epoch * per_epoch
                order.move_to(epoch, skipped * self.accelerator.num_processes)
                for pixels, targets in loader:
                    if self.budget.spent:
                        return False
                    loss = self._step(model, state, pixels, targets, total)
                    self.budget.spend()
                    progress.advance(batch, f"epoch {epoch + 1} loss {loss:.3f}")
                    if time.monotonic() - saved > self.checkpoint_every_s:
                        self._save(state)
                        saved = time.monotonic()
                after_epoch(epoch + 1, state.result)
        return True

    def _step(
        self, model: nn.Module, state: _PhaseState, pixels: Tensor, targets: Tensor, total: int
    ) -> float:
        progress = state.step / total
        for group in state.optimiser.param_groups:
            group["lr"] = self.phase.learning_rate * self.phase.schedule(progress)
        if progress < self.phase.small_share:
            pixels = functional.interpolate(
                pixels, scale_factor=_SMALL_SIDE, mode="bilinear", antialias=True
            )
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        torch.manual_seed(self._generator(state, 3).initial_seed())  # dropout, where there is any
        loss = model(pixels, targets, self._noise(state, len(targets), progress))
        self.accelerator.backward(loss)
        state.optimiser.step()
        state.optimiser.zero_grad()
        state.advance()
        return float(loss.detach())

    def _noise(self, state: _PhaseState, images: int, progress: float) -> GateNoise | None:
        ramp = self.phase.noise_ramp
        std = min(1.0, progress / ramp) if ramp else 1.0
        noise = state.objective.noise(images, std, self._generator(state, 2))
        return noise if noise is None else noise.to(self.accelerator.device)

    def _generator(self, state: _PhaseState, purpose: int) -> torch.Generator:
        return seeded(self.seed, state.step, self.accelerator.process_index, purpose)

    def _save(self, state: _PhaseState) -> None:
        if self.accelerator.is_main_process:
            save_checkpoint(self.checkpoint, state.checkpoint(self.fingerprint))


class _PhaseState:
    """Everything of a phase that changes from step to step."""

    def __init__(self, objective: Objective, phase: Phase) -> None:
        self.step = 0
        self.objective = objective
        self.optimiser = torch.optim.SGD(
            objective.parameters(),
            lr=phase.learning_rate,
            momentum=_MOMENTUM,
            weight_decay=phase.weight_decay,
            nesterov=phase.nesterov,
        )
        self._average: AveragedModel | None = None
        if phase.average_decay:
            self._average = AveragedModel(
                objective,
                multi_avg_fn=get_ema_multi_avg_fn(phase.average_decay),  # type: ignore[no-untyped-call]  # torch leaves it untyped
                use_buffers=True,
            )

    @property
    def result(self) -> Objective:
        """The objective as it would be kept now: averaged where the phase averages."""
        return self.objective if self._average is None else cast("Objective", self._average.module)

    def advance(self) -> None:
        """Count a step and let the average follow."""
        self.step += 1
        if self._average is not None:
            self._average.update_parameters(self.objective)

    def checkpoint(self, fingerprint: str) -> Checkpoint:
        """The state, to be written."""
        return Checkpoint(
            step=self.step,
            fingerprint=fingerprint,
            states={name: part.state_dict() for name, part in self._parts().items()},
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to a state that was written."""
        self.step = checkpoint.step
        for name, part in self._parts().items():
            part.load_state_dict(checkpoint.states[name])

    def _parts(self) -> dict[str, Any]:
        parts = {"objective": self.objective, "optimiser": self.optimiser}
        return parts if self._average is None else parts | {"average": self._average}
