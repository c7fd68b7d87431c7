"""Train a network: plain first, then decoupled. Stopped at any point, it continues."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from detector.data import Splits
from detector.decoupling import (
    Adversaries,
    DecoupledNetwork,
    DecouplingLoss,
    build_backbone,
)
from detector.decoupling.recipes import Recipe
from detector.errors import DataError
from detector.jobs.batches import BatchOrder, TrainingBatches
from detector.jobs.epoch_report import EpochReport
from detector.jobs.initial_weights import fit_initial_weights
from detector.jobs.input_size import check_input_size
from detector.jobs.objectives import (
    DecoupledObjective,
    HardenedObjective,
    PlainObjective,
)
from detector.jobs.provenance import provenance
from detector.jobs.train_phase import PhaseRun, StepBudget
from detector.jobs.training_log import TrainingLog
from detector.storage import sole_writer
from detector.weights import NetworkInfo, save_weights

__all__ = ["TrainingOptions", "TrainingResult", "train"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingOptions:
    """How to run a training that the recipe describes.

    Args:
        output: Folder for checkpoints, logs and weights.
        seed: Seed of weights, order, augmentation and gate noise.
        precision: ``no`` for 32-bit floats or ``bf16`` for mixed precision.
        compiled: Whether torch.compile translates the network: minutes to start, faster after.
        workers: Processes that read images ahead.
        checkpoint_every_s: Longest time between two checkpoints, seconds.
        initial_weights: State dict of a trained plain network; training it is then left out,
            unless `train_further`.
        train_further: Whether the plain network is trained from these weights all the same, as
            `Recipe.from_trained` says.
        input_size: Height and width of what the network reads, pixels; the data set's by default.
        stop_after_steps: Stop after so many steps of this run; the same call continues.
    """

    output: Path
    seed: int = 0
    precision: str = "no"
    compiled: bool = False
    workers: int = 0
    checkpoint_every_s: float = 120.0
    initial_weights: dict[str, Tensor] | None = None
    train_further: bool = False
    input_size: int | None = None
    stop_after_steps: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingResult:
    """Where a training stands.

    Args:
        finished: False if it was stopped before its end; the same command continues it.
        plain: File of the plain network; there once its phase is finished.
        network: File of the decoupled network; there once training is finished.
    """

    finished: bool
    plain: Path
    network: Path


def train(splits: Splits, recipe: Recipe, options: TrainingOptions) -> TrainingResult:
    """Train the plain network, then the decoupled one from its weights.

    On one device a run that was stopped and continued ends in the same weights as one that ran
    through. In several processes (``torchrun``) each takes its share of every batch.

    Args:
        splits: The images: weights are learnt on ``train``, the log reports on ``fit``.
        recipe: What to train, and how.
        options: Where to, and how to run it.

    Raises:
        DataError: If there are fewer training images than processes, or weights do not fit.
        InvalidInputError: If the network cannot read images of this size.
        CheckpointError: If the output folder holds another run.
        StorageError: If a file cannot be written, finished checkpoints are kept; or if another run
            writes to the same folder.
    """
    run = _Run(splits, recipe, options)
    result = TrainingResult(
        finished=False,
        plain=options.output / "plain.safetensors",
        network=options.output / "network.safetensors",
    )
    with run.alone(), run.log.opened():
        plain = run.plain(result.plain)
        finished = plain is not None and run.decoupled(plain, result.network)
    return replace(result, finished=finished)


class _Run:
    """One call of `train`."""

    def __init__(self, splits: Splits, recipe: Recipe, options: TrainingOptions) -> None:
        self._accelerator = Accelerator(mixed_precision=options.precision)
        self._splits = splits.resized(options.input_size)
        self._usual_size = self._splits.preprocessing == splits.preprocessing
        self._further = options.initial_weights is not None and options.train_further
        self._recipe = recipe.from_trained() if self._further else recipe
        self._options = options
        self._classes = len(splits.class_names)
        self._budget = StepBudget(options.stop_after_steps)
        self.log = TrainingLog(options.output, quiet=not self._accelerator.is_main_process)
        if len(splits.train) < self._accelerator.num_processes:
            raise DataError(
                f"Training should have at least {self._accelerator.num_processes} images, one a "
                f"process. Found {len(splits.train)}."
            )

    def alone(self) -> AbstractContextManager[None]:
        """Be the one run that writes to the output folder; the first process is for all of them."""
        first = self._accelerator.is_main_process
        return sole_writer(self._options.output) if first else nullcontext()

    def plain(self, file: Path) -> nn.Module | None:
        """The trained plain network, or None if the run was stopped."""
        torch.manual_seed(self._options.seed)
        network = build_backbone(self._recipe.backbone, self._classes)
        check_input_size(network, self._splits.preprocessing)
        given = self._options.initial_weights
        if given is not None:
            fit_initial_weights(network, given, fresh_head=self._further)
        if given is None or self._further:
            run = self._phase("plain", 0)
            if not run.run(
                PlainObjective(network),
                self._report("plain"),
                at_start=partial(self.log.go_back, "plain"),
            ):
                return None
        self._save(file, network)
        return network

    def decoupled(self, plain: nn.Module, file: Path) -> bool:
        """Train the decoupled network; whether it came to its end."""
        torch.manual_seed(self._options.seed + 1)
        recipe = self._recipe
        # A copy: the decoupled network wraps the plain one, whose weights learn on.
        teacher = None if recipe.distillation is None else deepcopy(plain)
        network = DecoupledNetwork(
            plain, input_independent_start=recipe.backbone.starts_input_independent
        )
        loss = DecouplingLoss(
            network.layout,
            self._classes,
            weights=recipe.weights,
            alignment=recipe.alignment,
            distillation=recipe.distillation,
        )
        objective = DecoupledObjective(network, loss, teacher)
        if recipe.hardening is not None and recipe.hardening.terms:
            objective = HardenedObjective(network, loss, recipe.hardening.terms, teacher)
        phases = ["decoupled"] if recipe.settled is None else ["decoupled", "settled"]
        for number, phase in enumerate(phases, start=1):
            at_start = partial(self.log.go_back, phase)
            if not self._phase(phase, number).run(
                objective, self._report(phase), at_start=at_start
            ):
                return False
        self._save(file, network)
        return True

    def _phase(self, name: str, number: int) -> PhaseRun:
        options, recipe = self._options, self._recipe
        seed = 2 * options.seed + number
        images = len(self._splits.train)
        # At least one batch for each process, however few images there are.
        batch_size = min(recipe.batch_size, images) // self._accelerator.num_processes
        order = BatchOrder(images, max(1, batch_size), seed)
        return PhaseRun(
            title=name,
            phase=getattr(recipe, name),
            seed=seed,
            batches=TrainingBatches(
                self._splits.train, self._splits.preprocessing, recipe.crop, order
            ),
            accelerator=self._accelerator,
            compiled=options.compiled,
            workers=options.workers,
            checkpoint=options.output / f"{name}.checkpoint",
            fingerprint=self._fingerprint(name),
            checkpoint_every_s=options.checkpoint_every_s,
            budget=self._budget,
            adversaries=self._adversaries(name),
        )

    def _adversaries(self, phase: str) -> Adversaries | None:
        hardening = self._recipe.hardening
        if hardening is None:
            return None
        return hardening.plain if phase == "plain" else hardening.decoupled

    def _fingerprint(self, phase: str) -> str:
        recipe = self._recipe
        facts = [recipe.backbone, recipe.batch_size, recipe.crop, repr(recipe.plain)]
        if phase != "plain":
            facts += [repr(recipe.decoupled), repr(recipe.weights), type(recipe.alignment).__name__]
            if recipe.distillation is not None:
                facts.append(repr(recipe.distillation))
        if phase == "settled":
            facts.append(repr(recipe.settled))
        facts += [str(self._options.seed), str(self._accelerator.num_processes)]
        facts += [str(self._further)]
        facts += self._hardening_facts(phase)
        facts += self._size_facts()
        digest = hashlib.sha256(json.dumps(facts).encode())
        digest.update(self._splits.train.ids.tobytes())
        digest.update(self._splits.train.labels.tobytes())
        digest.update(_digest(self._options.initial_weights or {}).encode())
        return digest.hexdigest()

    def _size_facts(self) -> list[str]:
        """The network's input, where it is not the one that the data set comes with."""
        return [] if self._usual_size else [repr(self._splits.preprocessing)]

    def _hardening_facts(self, phase: str) -> list[str]:
        """What of the hardening a phase depends on; nothing for recipes without it."""
        found = self._adversaries(phase) if phase == "plain" else self._recipe.hardening
        return [] if found is None else [repr(found)]

    def _report(self, phase: str) -> EpochReport:
        return EpochReport(
            phase=phase,
            log=self.log,
            images=self._splits.fit,
            preprocessing=self._splits.preprocessing,
            device=self._accelerator.device,
            adversaries=self._adversaries(phase),
        )

    @cached_property
    def _data_digest(self) -> str:
        return self._splits.train.digest()

    def _start(self) -> dict[str, object]:
        """What the run started from, where that was not chance."""
        given = self._options.initial_weights
        if given is None:
            return {}
        return {"initial_weights": _digest(given), "trained_further": self._further}

    def _hardening(self) -> dict[str, str]:
        """What a recipe adds against attacks, which its own text leaves out."""
        hardening = self._recipe.hardening
        return {} if hardening is None else {"hardening": repr(hardening)}

    def _save(self, file: Path, network: nn.Module) -> None:
        if not self._accelerator.is_main_process:
            return
        facts = provenance(
            recipe=repr(self._recipe),
            seed=self._options.seed,
            training_images=len(self._splits.train),
            data=self._data_digest,
            **self._start(),
            **self._hardening(),
        )
        info = NetworkInfo(
            backbone=self._recipe.backbone,
            class_names=self._splits.class_names,
            preprocessing=self._splits.preprocessing,
            provenance=facts,
        )
        save_weights(file, network, info)


def _digest(weights: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in weights.items():
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(name.encode() + flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
