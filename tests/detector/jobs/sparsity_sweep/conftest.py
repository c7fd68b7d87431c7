"""Images whose class is their brightest colour, and a recipe that learns so much in a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from accelerate.state import AcceleratorState, GradientState
from torch import nn

from detector import weights
from detector.data import ArraySource, Splits
from detector.decoupling.backbones import CifarResNet
from detector.decoupling.recipes import Preset, Recipe, recipe_of
from detector.jobs import train
from detector.jobs.sparsity_sweep import MeasurePlan, SweepOptions
from detector.jobs.train import TrainingOptions
from detector.preprocessing import Preprocessing

CLASSES = ("red", "green", "blue")
PLAN = MeasurePlan(
    attacks=("pgd:64/255,steps=3", "fgsm:0.0001"),
    attacked=12,
    train_images=60,
    timed=6,
    replicates=20,
)


@pytest.fixture
def recipe() -> Recipe:
    """In so few steps an average of weights would still be the first ones."""
    short = recipe_of(Preset.RESNET20_CIFAR10).shortened(plain_epochs=6, decoupled_epochs=2)
    return replace(
        short,
        batch_size=16,
        plain=replace(short.plain, average_decay=0.0),
        decoupled=replace(short.decoupled, average_decay=0.0),
        settled=None,
    )


@pytest.fixture(autouse=True)
def small_networks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """ResNet-20 is one of seven layers here."""

    def small(_name: object, classes: int) -> nn.Module:
        return CifarResNet(1, classes, widths=(4, 4, 8))

    for module in (train, weights):
        monkeypatch.setattr(module, "build_backbone", small)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture
def splits() -> Splits:
    return colours(seed=0)


def colours(seed: int) -> Splits:
    """Noise of which one channel is brighter than the others: the class."""
    generator = np.random.default_rng(seed)

    def source(count: int) -> ArraySource:
        labels = np.arange(count) % len(CLASSES)
        pixels = generator.integers(0, 120, (count, 8, 8, 3))
        pixels[np.arange(count), :, :, labels] += 100
        return ArraySource(pixels.astype(np.uint8), labels, CLASSES)

    return Splits.divide(
        source(96),
        source(36),
        fit=source(30),
        calibration=source(30),
        preprocessing=Preprocessing(
            height=8, width=8, shorter_side=8, mean=(0.5,) * 3, std=(0.25,) * 3
        ),
    )


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., SweepOptions]:
    """Options of a small sweep, with changes; those of training by themselves."""

    def make(*shares: float, plan: MeasurePlan = PLAN, **training: object) -> SweepOptions:
        made = TrainingOptions(output=tmp_path / "sweep", **training)
        return SweepOptions(training=made, shares=shares or (1.0, 0.4), plan=plan)

    return make
