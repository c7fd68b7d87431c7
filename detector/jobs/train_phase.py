"""One phase of training: stochastic gradient descent that can stop and continue."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from detector.decoupling import Adversaries, GateNoise
from detector.decoupling.recipes import Phase
from detector.jobs.adversaries import with_adversaries
from detector.jobs.batches import TrainingBatches, read_from, seeded, training_loader
from detector.jobs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from detector.jobs.objectives import Objective
from detector.jobs.progress import Progress

__all__ = ["AfterEpoch", "PhaseRun", "StepBudget"]

_MOMENTUM = 0.9
_SMALL_SIDE = 0.75
_LOSSES = "losses"


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


AfterEpoch = Callable[[int, Objective, dict[str, float]], None]
"""Called with the number of epochs done, the objective as it stands, and the mean losses."""


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
        adversaries: What is done to the images first; None for nothing. The attack runs in the
            precision of training, and as plain torch also where the objective is compiled.
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
    adversaries: Adversaries | None = None

    def run(
        self,
        objective: Objective,
        after_epoch: AfterEpoch,
        *,
        at_start: Callable[[int], None] = lambda _: None,
    ) -> bool:
        """Train to the end of the phase, from the checkpoint where there is one.

        Args:
            objective: What to minimise; it ends with the averaged weights if the phase averages.
            after_epoch: Called after each epoch, and before any checkpoint that is past it. Losses
                are means over the epoch, of the first process's share where there are several.
            at_start: Called first, with the number of epochs that are done already.

        Returns:
            False if the step budget ended first.
        """
        objective.to(self.accelerator.device)
        objective.to(memory_format=torch.channels_last)
        state = _PhaseState(objective, self.phase)
        found = load_checkpoint(self.checkpoint, self.fingerprint)
        if found is not None:
            state.restore(found)
        finished = self._descend(state, after_epoch, at_start)
        self._save(state)
        if finished:
            objective.load_state_dict(state.result.state_dict())
        return finished

    def _descend(
        self, state: _PhaseState, after_epoch: AfterEpoch, at_start: Callable[[int], None]
    ) -> bool:
        model = self.accelerator.prepare_model(state.objective)
        if self.compiled:
            # Images have two sizes at most; kernels for any size would be slower for each.
            model = cast("nn.Module", torch.compile(model, dynamic=False))
        loader = self.accelerator.prepare_data_loader(
            training_loader(self.batches, workers=self.workers)
        )
        order = self.batches.order
        order.move_to(0, 0)
        per_epoch = len(loader)
        batch = order.batch_size * self.accelerator.num_processes
        total = self.phase.epochs * per_epoch
        saved = time.monotonic()
        at_start(state.step // per_epoch)
        with Progress.shown(
            self.title,
            total * batch,
            done=state.step * batch,
            quiet=not self.accelerator.is_main_process,
        ) as progress:
            for epoch in range(state.step // per_epoch, self.phase.epochs):
                skipped = state.step - epoch * per_epoch
                order.move_to(epoch, skipped * self.accelerator.num_processes)
                for pixels, targets in read_from(loader):
                    if self.budget.spent:
                        return False
                    loss = self._step(model, state, pixels, targets, total)
                    self.budget.spend()
                    progress.advance(batch, f"epoch {epoch + 1} loss {loss:.3f}")
                    if state.step % per_epoch == 0:  # a checkpoint past an epoch follows its log
                        after_epoch(epoch + 1, state.result, state.losses.means())
                        state.losses.clear()
                    if time.monotonic() - saved > self.checkpoint_every_s:
                        self._save(state)
                        saved = time.monotonic()
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
        if self.adversaries is not None:
            pixels = self._attacked(state, pixels, targets, self.adversaries)
        torch.manual_seed(self._generator(state, 3).initial_seed())  # dropout, where there is any
        total_loss, terms = model(pixels, targets, self._noise(state, len(targets), progress))
        self.accelerator.backward(total_loss)
        state.optimiser.step()
        state.optimiser.zero_grad()
        state.advance()
        return state.losses.add({"loss": total_loss.detach(), **terms})

    def _attacked(
        self, state: _PhaseState, pixels: Tensor, targets: Tensor, adversaries: Adversaries
    ) -> Tensor:
        with self.accelerator.autocast():
            attacked = with_adversaries(
                state.objective.network,
                pixels,
                targets,
                adversaries,
                self.batches.preprocessing,
                seed=self._generator(state, 4).initial_seed(),
            )
        return attacked.contiguous(memory_format=torch.channels_last)

    def _noise(self, state: _PhaseState, images: int, progress: float) -> GateNoise | None:
        ramp, fall = self.phase.noise_ramp, self.phase.noise_fall
        strength = min(1.0, progress / ramp) if ramp else 1.0
        strength = min(strength, (1 - progress) / fall) if fall else strength
        std = self.phase.noise * strength
        generator = self._generator(state, 2)
        noise = state.objective.noise(images, std, self.phase.hard_share, generator)
        return noise if noise is None else noise.to(self.accelerator.device)

    def _generator(self, state: _PhaseState, purpose: int) -> torch.Generator:
        return seeded(self.seed, state.step, self.accelerator.process_index, purpose)

    def _save(self, state: _PhaseState) -> None:
        if self.accelerator.is_main_process:
            save_checkpoint(self.checkpoint, state.checkpoint(self.fingerprint))


class _MeanLosses:
    """Means over the steps of an epoch, also of one that was interrupted and continued."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._steps = 0

    def add(self, losses: dict[str, Tensor]) -> float:
        """Count one step; gives its loss, the first of them."""
        values = torch.stack(list(losses.values())).tolist()  # one wait for the device, not five
        for name, value in zip(losses, values, strict=True):
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1
        return float(values[0])

    def means(self) -> dict[str, float]:
        """Mean of each loss since the last `clear`."""
        return {name: value / self._steps for name, value in self._sums.items()}

    def clear(self) -> None:
        """Begin another epoch."""
        self._sums, self._steps = {}, 0

    def state_dict(self) -> dict[str, Any]:
        """The sums, for a checkpoint."""
        return {"sums": dict(self._sums), "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to sums that were kept."""
        self._sums, self._steps = dict(state["sums"]), state["steps"]


class _PhaseState:
    """Everything of a phase that changes from step to step."""

    def __init__(self, objective: Objective, phase: Phase) -> None:
        self.step = 0
        self.losses = _MeanLosses()
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
            # Checkpoints that were written before losses were logged hold none of them.
            if name != _LOSSES or name in checkpoint.states:
                part.load_state_dict(checkpoint.states[name])

    def _parts(self) -> dict[str, Any]:
        parts = {
            "objective": self.objective,
            "optimiser": self.optimiser,
            _LOSSES: self.losses,
        }
        return parts if self._average is None else parts | {"average": self._average}
