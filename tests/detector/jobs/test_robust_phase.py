"""A phase on attacked images, on data with a feature that attacks can turn round and one not."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

from detector.data import ArraySource, FitImages, TrainImages
from detector.decoupling import (
    Adversaries,
    DecoupledNetwork,
    DecouplingLoss,
    LossWeights,
    OutputToGates,
)
from detector.decoupling.backbones import CifarResNet
from detector.decoupling.recipes import Cosine, Crop, Phase
from detector.jobs.adversaries import attacked_accuracy
from detector.jobs.batches import BatchOrder, TrainingBatches
from detector.jobs.objectives import DecoupledObjective, PlainObjective
from detector.jobs.train_phase import PhaseRun, StepBudget
from detector.preprocessing import Preprocessing

EPSILON = 32
PREPROCESSING = Preprocessing(
    height=8, width=8, shorter_side=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
)
ADVERSARIES = Adversaries(epsilon=EPSILON / 255, steps=3, relative_step=0.75)
PHASE = Phase(epochs=10, learning_rate=0.1, schedule=Cosine(warmup=0.1), noise=0.33)


@pytest.fixture(autouse=True)
def _no_state_of_other_tests():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


class AsTheyAre(TrainingBatches):
    """No crops, which would change the features."""

    def __getitems__(self, rows):
        return self.preprocessing(self.images.read(rows, self.preprocessing)), self.labels[rows]


def striped(count, seed):
    """Faint stripes, across or down, always tell the class; bold brightness does for 3 of 4."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    stripes = np.where(np.arange(8) % 2, 1.0, -1.0) * EPSILON / 2
    pixels = np.where(labels[:, None, None] == 0, stripes[None, :, None], stripes[None, None, :])
    bright = np.where(generator.random(count) < 0.75, labels, 1 - labels)
    pixels = 128 + pixels + np.where(bright, 1, -1)[:, None, None] * 1.5 * EPSILON
    noisy = pixels[..., None] + generator.normal(0, EPSILON / 4, (count, 8, 8, 3))
    return ArraySource(noisy.round().clip(0, 255).astype(np.uint8), labels, "ab")


def objective_of(kind):
    torch.manual_seed(0)
    backbone = CifarResNet(1, 2, widths=(8, 8, 8))
    if kind == "plain":
        return PlainObjective(backbone)
    network = DecoupledNetwork(backbone)
    weights = LossWeights(alignment=0.1, information=0.0, sparsity=0.0, open_share=0.0)
    loss = DecouplingLoss(network.layout, 2, weights=weights, alignment=OutputToGates())
    return DecoupledObjective(network, loss)


@pytest.fixture
def trained(tmp_path):
    def make(kind, adversaries):
        images = TrainImages(striped(384, seed=0), np.arange(384))
        run = PhaseRun(
            title=kind,
            phase=PHASE,
            seed=0,
            batches=AsTheyAre(images, PREPROCESSING, Crop.PAD_4, BatchOrder(384, 48, 0)),
            accelerator=Accelerator(cpu=True),
            compiled=False,
            workers=0,
            checkpoint=tmp_path / f"{adversaries is None}.checkpoint",
            fingerprint="",
            checkpoint_every_s=1e9,
            budget=StepBudget(None),
            adversaries=adversaries,
        )
        objective = objective_of(kind)
        assert run.run(objective, lambda *_: None)
        return objective.network

    return make


def accuracy_under(network, epsilon):
    images = FitImages(striped(200, seed=1), np.arange(200))
    adversaries = Adversaries(epsilon=epsilon)
    return attacked_accuracy(network, images, PREPROCESSING, adversaries, torch.device("cpu"))


@pytest.mark.parametrize("kind", ["plain", "decoupled"])
def test_a_phase_on_attacked_images_withstands_what_breaks_the_same_phase_without(trained, kind):
    """Whoever relies on stripes is right without an attack and wrong with it; brightness holds."""
    ordinary, robust = trained(kind, None), trained(kind, ADVERSARIES)
    clean = accuracy_under(ordinary, 1e-6)
    broken, withstood = (accuracy_under(network, EPSILON / 255) for network in (ordinary, robust))
    assert clean > 0.9
    assert broken < 0.3
    assert withstood > 0.6
