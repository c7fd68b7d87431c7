"""Training with a hardened recipe, and what stays as it was without one."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from safetensors import safe_open
from safetensors.torch import load_file

from detector.data import ArraySource, Splits
from detector.decoupling import Adversaries, Hardening, LossWeights
from detector.decoupling.backbones import CifarResNet
from detector.decoupling.recipes import Preset, recipe_of
from detector.errors import CheckpointError
from detector.jobs import train as module
from detector.jobs.objectives import DecoupledObjective, HardenedObjective
from detector.jobs.train import TrainingOptions, train
from detector.preprocessing import Preprocessing

RECIPE = replace(
    recipe_of(Preset.RESNET20_CIFAR10).shortened(
        plain_epochs=1, decoupled_epochs=1, settled_epochs=1
    ),
    batch_size=16,
)
HARDENED = RECIPE.hardened().with_gate_margin(0.5).with_copy_consistency(0.25)
AS_IT_WAS = replace(
    RECIPE,
    decoupled=replace(RECIPE.decoupled, noise=0.33, noise_fall=0.25, hard_share=0.5),
    weights=LossWeights(alignment=1.0, information=0.02, sparsity=2e-3, open_share=0.75),
    settled=replace(RECIPE.settled, learning_rate=0.015),
    distillation=None,
)
FINGERPRINTS = {
    "plain": "7407ca2a3616454771b6b7cbcdbf7ff087011651e359650abd1ea6b4edb2352e",
    "decoupled": "d79b7125000d771c34b48bf72be562f129a3773d3d04ccbc5cfe2193b26f5239",
    "settled": "ec6365546cfc690db0adabd701f52c1b906723137a51c4fde62cafe8d7dbb674",
}
"""Of `AS_IT_WAS`, before there was any hardening."""


def tiny_backbone(_name, classes):
    """With dropout, whose random numbers must not be those of the attack."""
    network = CifarResNet(1, classes, widths=(4, 4, 8))
    network.fc = torch.nn.Sequential(torch.nn.Dropout(0.3), network.fc)
    return network


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setattr(module, "build_backbone", tiny_backbone)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(scope="module")
def splits():
    generator = np.random.default_rng(0)
    train_source, test_source = (
        ArraySource(
            generator.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8), np.arange(n) % 4, "abcd"
        )
        for n in (40, 8)
    )
    preprocessing = Preprocessing(
        height=8, width=8, shorter_side=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )
    return Splits.divide(train_source, test_source, preprocessing=preprocessing)


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def provenance_of(file):
    with safe_open(file, framework="pt") as opened:
        return json.loads(opened.metadata()["offpath"])["provenance"]


def same_weights(first, second):
    one, other = load_file(first), load_file(second)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("steps", [1, 4])
def test_stopped_and_continued_it_ends_in_the_same_weights_and_the_same_log(
    tmp_path, splits, steps
):
    through = train(splits, HARDENED, TrainingOptions(output=tmp_path / "through"))
    options = TrainingOptions(output=tmp_path / "stopped", stop_after_steps=steps)
    runs = 1
    while not (result := train(splits, HARDENED, options)).finished:
        torch.manual_seed(runs)  # whatever happens in between
        runs += 1
    assert runs == -(-6 // steps)
    assert same_weights(result.plain, through.plain)
    assert same_weights(result.network, through.network)
    assert log(tmp_path / "stopped") == log(tmp_path / "through")


def test_the_log_has_the_accuracy_on_attacked_images_and_every_term(tmp_path, splits):
    result = train(splits, HARDENED, TrainingOptions(output=tmp_path))
    plain, *decoupled = log(tmp_path)
    assert 0 <= plain["attacked_accuracy"] <= 1
    assert "gate_margin" not in plain
    weights = HARDENED.weights
    for row in decoupled:
        assert 0 <= row["attacked_accuracy"] <= 1
        parts = {
            "classification": 1,
            "alignment": weights.alignment,
            "information": weights.information,
            "sparsity": weights.sparsity,
            "gate_margin": 0.5,
            "copy_consistency": 0.25,
        }
        total = sum(weight * row[name] for name, weight in parts.items())
        assert row["loss"] == pytest.approx(total, rel=1e-4)
        assert row["copy_consistency"] > 0
    for file in (result.plain, result.network):
        assert provenance_of(file)["hardening"] == repr(HARDENED.hardening)
        assert provenance_of(file)["recipe"] == repr(RECIPE)


def test_half_precision_trains_too(tmp_path, splits):
    result = train(splits, HARDENED, TrainingOptions(output=tmp_path, precision="bf16"))
    assert all(tensor.isfinite().all() for tensor in load_file(result.network).values())


def test_a_recipe_without_hardening_has_the_fingerprint_that_it_always_had(tmp_path, splits):
    run = module._Run(splits, AS_IT_WAS, TrainingOptions(output=tmp_path))
    assert {phase: run._fingerprint(phase) for phase in FINGERPRINTS} == FINGERPRINTS


def test_without_hardening_nothing_is_attacked_and_the_log_and_the_weights_say_nothing_of_it(
    tmp_path, splits, monkeypatch
):
    forward, seen = DecoupledObjective.forward, []

    def observed(self, *args):
        seen.append(type(self))
        return forward(self, *args)

    monkeypatch.setattr(DecoupledObjective, "forward", observed)
    result = train(splits, RECIPE, TrainingOptions(output=tmp_path))
    assert set(seen) == {DecoupledObjective}
    assert not any("attacked_accuracy" in row for row in log(tmp_path))
    assert "hardening" not in provenance_of(result.network)


@pytest.mark.parametrize(
    "other",
    [
        RECIPE,
        RECIPE.hardened(),
        replace(HARDENED, hardening=replace(HARDENED.hardening, plain=Adversaries(steps=1))),
    ],
    ids=["none", "without terms", "fewer steps"],
)
def test_a_checkpoint_of_another_hardening_is_refused(tmp_path, splits, other):
    train(splits, HARDENED, TrainingOptions(output=tmp_path, stop_after_steps=3))
    with pytest.raises(CheckpointError, match="another run"):
        train(splits, other, TrainingOptions(output=tmp_path))


def test_a_plain_phase_that_is_not_attacked_can_be_shared_with_a_recipe_without_hardening(
    tmp_path, splits
):
    train(splits, RECIPE, TrainingOptions(output=tmp_path, stop_after_steps=1))
    later = replace(RECIPE, hardening=Hardening(decoupled=Adversaries(steps=1)))
    assert train(splits, later, TrainingOptions(output=tmp_path)).finished
    assert [set(row) & {"attacked_accuracy"} for row in log(tmp_path)] == [
        set(), {"attacked_accuracy"}, {"attacked_accuracy"},
    ]  # fmt: skip


def test_a_network_and_its_copies_are_compared_under_the_same_noise(splits, tmp_path, monkeypatch):
    noises = []
    forward = HardenedObjective.forward

    def observed(self, images, targets, noise):
        hook = self.network.register_forward_pre_hook(lambda _, inputs: noises.append(inputs[1]))
        try:
            return forward(self, images, targets, noise)
        finally:
            hook.remove()

    monkeypatch.setattr(HardenedObjective, "forward", observed)
    recipe = replace(RECIPE, settled=None).with_copy_consistency(1.0)
    train(splits, recipe, TrainingOptions(output=tmp_path))
    assert len(noises) == 4  # two steps, each with the images and their copies
    assert noises[0] is noises[1]
    assert noises[2] is noises[3]
    assert noises[0] is not noises[2]


def test_a_hardened_recipe_is_compiled_to_the_same_training(tmp_path, splits, monkeypatch):
    """The attack in between switches the modes of the network that the compiled one shares."""
    # All of the translation but the C++ compiler, which takes minutes.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    # Dropout would draw other numbers.
    monkeypatch.setattr(module, "build_backbone", lambda _, k: CifarResNet(1, k, widths=(4, 4, 8)))
    torch.manual_seed(0)
    weights = CifarResNet(1, 4, widths=(4, 4, 8)).state_dict()
    recipe = replace(HARDENED, settled=None)
    results = [
        train(
            splits,
            recipe,
            TrainingOptions(
                output=tmp_path / str(compiled), initial_weights=weights, compiled=compiled
            ),
        )
        for compiled in (False, True)
    ]
    eager, compiled = (load_file(result.network) for result in results)
    for name, tensor in eager.items():
        torch.testing.assert_close(compiled[name], tensor, rtol=1e-3, atol=1e-4)
