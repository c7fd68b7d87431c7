"""How each network is trained: the paper's recipes, and ours for short runs, by name."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from typing_extensions import override

from detector.decoupling.backbones import Backbone
from detector.decoupling.hardening import Adversaries, CopyConsistency, GateMargin, Hardening
from detector.decoupling.losses import (
    Alignment,
    Distillation,
    GatesToOutput,
    LossWeights,
    OutputToGates,
)

__all__ = ["Cosine", "Crop", "Phase", "Preset", "Recipe", "Schedule", "Steps", "recipe_of"]

_THREE_STEPS = Adversaries(steps=3, relative_step=0.75)


class Schedule(ABC):
    """Learning rate over a phase of training, as a factor of its peak."""

    @abstractmethod
    def __call__(self, progress: float) -> float:
        """Factor in [0, 1] at a progress in [0, 1)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps(Schedule):
    """Divide by ten at each milestone.

    Args:
        milestones: Shares of the phase, each in (0, 1).
    """

    milestones: tuple[float, ...]

    @override
    def __call__(self, progress: float) -> float:
        return 0.1 ** sum(progress >= milestone for milestone in self.milestones)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cosine(Schedule):
    """Rise linearly, then fall along half a cosine.

    Args:
        warmup: Share of the phase in which the rate rises, in [0, 1).
    """

    warmup: float

    @override
    def __call__(self, progress: float) -> float:
        if progress < self.warmup:
            return (progress + 1e-3) / (self.warmup + 1e-3)
        return 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))


class Crop(StrEnum):
    """How training images are cropped, always with a random flip."""

    PAD_4 = "pad-4"
    RESIZED = "resized"


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """One run of stochastic gradient descent.

    Args:
        epochs: Passes over the training images.
        learning_rate: Peak learning rate.
        schedule: Learning rate over the phase.
        weight_decay: L2 penalty on all weights.
        nesterov: Whether the momentum of .9 looks ahead.
        average_decay: Decay of the exponential moving average of the weights, per step; 0 keeps
            the last weights themselves.
        noise: Standard deviation of the gates' noise at its full strength, not negative; the
            paper's gates have 1.
        noise_ramp: Share of the phase over which the gates' noise rises to its full strength;
            gentle for networks that are thin or trained briefly.
        noise_fall: Share of the phase, to its end, over which the noise falls to nothing, so that
            the last epochs train the network as it is evaluated.
        hard_share: Share of the images whose gates are binarised in training, in [0, 1]; half of
            them in the paper's gates, all of them as the network is evaluated.
        small_share: Share of the phase, from its start, that sees images at three quarters of
            their side: such epochs cost about half and teach the coarse part as well.
    """

    epochs: int
    learning_rate: float
    schedule: Schedule
    weight_decay: float = 1e-4
    nesterov: bool = False
    average_decay: float = 0.0
    noise: float = 1.0
    noise_ramp: float = 0.0
    noise_fall: float = 0.0
    hard_share: float = 0.5
    small_share: float = 0.0

    def in_larger_steps(self, factor: float) -> Phase:
        """The same phase where each step sees this many times as many images."""
        return replace(
            self,
            learning_rate=self.learning_rate * factor,
            average_decay=self.average_decay**factor,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that training needs beside the images.

    Args:
        backbone: Which network.
        batch_size: Images a step.
        plain: Training of the plain network that the decoupled one starts from.
        decoupled: Joint training of all weights, gates included.
        settled: More of it at the end, for a network that shall be used to the gates of
            evaluation; None for none.
        hardening: What it adds against attacks; None for none. It stands apart in what a run
            records, so that runs without it read as they always did.
        weights: How much each term of the loss counts.
        alignment: Direction of the divergence between a layer's output and its gates.
        distillation: How the plain network teaches the decoupled one; None for not at all.
        crop: How training images are cropped.
    """

    backbone: Backbone
    batch_size: int
    plain: Phase
    decoupled: Phase
    weights: LossWeights
    alignment: Alignment
    crop: Crop
    settled: Phase | None = None
    distillation: Distillation | None = None
    hardening: Hardening | None = field(default=None, repr=False)

    def shortened(
        self,
        *,
        plain_epochs: int | None = None,
        decoupled_epochs: int | None = None,
        settled_epochs: int | None = None,
    ) -> Recipe:
        """The same recipe with other numbers of epochs, where they are given."""
        recipe = self
        if plain_epochs is not None:
            recipe = replace(recipe, plain=replace(recipe.plain, epochs=plain_epochs))
        if decoupled_epochs is not None:
            recipe = replace(recipe, decoupled=replace(recipe.decoupled, epochs=decoupled_epochs))
        if settled_epochs is not None and recipe.settled is not None:
            recipe = replace(recipe, settled=replace(recipe.settled, epochs=settled_epochs))
        return recipe

    def from_trained(self) -> Recipe:
        """The same recipe for a plain network that is trained already and shall be further.

        A third of the peak rate leaves what it knows in place, and only images at full size have
        something to add to it.
        """
        plain = replace(self.plain, learning_rate=self.plain.learning_rate / 3, small_share=0.0)
        return replace(self, plain=plain)

    def hardened(self, adversaries: Adversaries = _THREE_STEPS) -> Recipe:
        """The same recipe on attacked images, in every phase; its other hardening stays.

        Args:
            adversaries: How they are attacked. Three steps are few, but random starts and new
                images make up for them, and each costs as much as an ordinary step of training.
        """
        return self._with_hardening(plain=adversaries, decoupled=adversaries)

    def with_gate_margin(self, weight: float) -> Recipe:
        """The same recipe with gate logits kept away from zero, by this weight."""
        return self._with_hardening(gate_margin=GateMargin(weight=weight))

    def with_copy_consistency(self, weight: float) -> Recipe:
        """The same recipe with classes and gates of copies kept together, by this weight."""
        return self._with_hardening(consistency=CopyConsistency(weight=weight))

    def with_open_share(self, share: float) -> Recipe:
        """The same recipe with another share of gates that shall stay open.

        Where less is asked for than the recipe does, the pressure towards it grows as well: gates
        have further to go in the same number of epochs.

        Args:
            share: Target share R of open gates, in [0, 1]; 1 leaves filters to be always open.
        """
        before = self.weights
        pressure = max(1.0, (1 - share) / max(1 - before.open_share, 0.2))
        weights = replace(before, open_share=share, sparsity=before.sparsity * pressure)
        return replace(self, weights=weights)

    def _with_hardening(self, **parts: Any) -> Recipe:
        before = self.hardening
        after = Hardening(**parts) if before is None else replace(before, **parts)
        return replace(self, hardening=after)

    def with_batch_size(self, size: int) -> Recipe:
        """The same recipe in steps of another size, for machines that larger ones keep busy.

        Learning rates grow with it, and the average of the weights reaches back over as many images
        as before.

        Args:
            size: Images a step, positive.

        Reference:
            Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 2.1: the linear rule.
        """
        factor = size / self.batch_size
        return replace(
            self,
            batch_size=size,
            plain=self.plain.in_larger_steps(factor),
            decoupled=self.decoupled.in_larger_steps(factor),
            settled=None if self.settled is None else self.settled.in_larger_steps(factor),
        )

    def with_backbone(self, backbone: Backbone) -> Recipe:
        """The same recipe for another backbone; all else stays, the alignment's direction too."""
        return replace(self, backbone=backbone)


class Preset(StrEnum):
    """A recipe by name."""

    RESNET20_CIFAR10 = "resnet20-cifar10"
    RESNET20_CIFAR10_ROBUST = "resnet20-cifar10-robust"
    WIDE_RESNET8_CIFAR10 = "wide-resnet8-cifar10"
    RESNET56_CIFAR10 = "resnet56-cifar10"
    VGG_CIFAR10 = "vgg-cifar10"
    GOOGLENET_CIFAR10 = "googlenet-cifar10"
    RESNET18_IMAGENET = "resnet18-imagenet"
    VGG16_IMAGENET = "vgg16-imagenet"


def _cifar10(backbone: Backbone, alignment: Alignment, weights: LossWeights) -> Recipe:
    phase = Phase(epochs=200, learning_rate=0.1, schedule=Steps(milestones=(0.5, 0.75)))
    return Recipe(
        backbone=backbone,
        batch_size=128,
        plain=phase,
        decoupled=phase,
        weights=weights,
        alignment=alignment,
        crop=Crop.PAD_4,
    )


def _imagenet(
    backbone: Backbone, batch_size: int, alignment: Alignment, weights: LossWeights
) -> Recipe:
    steps = Steps(milestones=(0.25, 0.5, 0.75))
    return Recipe(
        backbone=backbone,
        batch_size=batch_size,
        plain=Phase(epochs=120, learning_rate=0.1, schedule=steps),
        decoupled=Phase(epochs=120, learning_rate=0.01, schedule=steps),
        weights=weights,
        alignment=alignment,
        crop=Crop.RESIZED,
    )


def _short_resnet20() -> Recipe:
    """Ours, for two CPU cores: a cosine, averaged weights, and a plain network that teaches.

    Gates are hard on every image from the start, with a quarter of the noise: with soft gates they
    stay open for all images alike, and only begin to differ once they are hard.
    """
    return Recipe(
        backbone=Backbone.CIFAR_RESNET20,
        batch_size=128,
        plain=Phase(
            epochs=64,
            learning_rate=0.15,
            schedule=Cosine(warmup=0.1),
            weight_decay=5e-4,
            nesterov=True,
            average_decay=0.998,
            small_share=0.4,
        ),
        decoupled=Phase(
            epochs=28,
            learning_rate=0.06,
            schedule=Cosine(warmup=0.05),
            weight_decay=5e-4,
            nesterov=True,
            average_decay=0.998,
            noise=0.25,
            noise_fall=0.7,
            hard_share=1.0,
            small_share=0.2,
        ),
        weights=LossWeights(alignment=1.0, information=0.03, sparsity=2e-3, open_share=0.8),
        alignment=OutputToGates(),
        crop=Crop.PAD_4,
        settled=Phase(
            epochs=4,
            learning_rate=0.01,
            schedule=Cosine(warmup=0.05),
            weight_decay=5e-4,
            nesterov=True,
            average_decay=0.998,
            noise=0.0,
            hard_share=1.0,
        ),
        distillation=Distillation(weight=0.8, temperature=4.0),
    )


def _robust_resnet20() -> Recipe:
    """Ours, on attacked images, for two CPU cores.

    One step from a random start: each epoch costs two, so that there are a third as many. Half of
    the usual 8/255: what it withstands is paid for in accuracy, and a thin network has less of it.

    Reference:
        Wong et al., "Fast is better than free: Revisiting adversarial training", ICLR 2020.
    """
    short = _short_resnet20().shortened(plain_epochs=18, decoupled_epochs=8, settled_epochs=2)
    return short.hardened(Adversaries(epsilon=4 / 255, steps=1, relative_step=1.25))


def _wide_resnet8() -> Recipe:
    """Ours, for a network whose filters are worth closing: half of them, and on a GPU.

    Layers of 16 channels are so cheap that deciding what to leave out costs what it saves.
    """
    longer = _short_resnet20().shortened(plain_epochs=30, decoupled_epochs=30)
    wide = longer.with_backbone(Backbone.CIFAR_WIDE_RESNET8).with_open_share(0.5)
    return replace(wide, settled=None).with_batch_size(512)


_RECIPES: dict[Preset, Recipe] = {
    Preset.RESNET20_CIFAR10: _short_resnet20(),
    Preset.RESNET20_CIFAR10_ROBUST: _robust_resnet20(),
    Preset.WIDE_RESNET8_CIFAR10: _wide_resnet8(),
    Preset.RESNET56_CIFAR10: _cifar10(
        Backbone.CIFAR_RESNET56,
        OutputToGates(),
        LossWeights(alignment=1.0, information=0.01, sparsity=1.5e-4, open_share=0.0),
    ),
    Preset.VGG_CIFAR10: _cifar10(
        Backbone.CIFAR_VGG19_BN,
        GatesToOutput(),
        LossWeights(alignment=1.0, information=0.04, sparsity=2e-4, open_share=0.0),
    ),
    Preset.GOOGLENET_CIFAR10: _cifar10(
        Backbone.CIFAR_GOOGLENET,
        OutputToGates(),
        LossWeights(alignment=1.0, information=0.006, sparsity=5e-5, open_share=0.0),
    ),
    Preset.RESNET18_IMAGENET: _imagenet(
        Backbone.RESNET18,
        256,
        OutputToGates(),
        LossWeights(alignment=1.0, information=0.005, sparsity=0.01, open_share=0.6),
    ),
    Preset.VGG16_IMAGENET: _imagenet(
        Backbone.VGG16,
        64,
        GatesToOutput(),
        LossWeights(alignment=1.0, information=0.01, sparsity=0.01, open_share=0.5),
    ),
}


def recipe_of(preset: Preset) -> Recipe:
    """The recipe of a preset.

    Reference:
        All but the short ones of ours train the decoupled network with the published settings of
        Li et al., "Interpretable Neural Network Decoupling", ECCV 2020. The plain phases are the
        usual ones of these networks: the paper starts from plain networks that it has already.
    """
    return _RECIPES[preset]
