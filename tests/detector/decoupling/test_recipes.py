import math
from dataclasses import replace

import pytest

from detector.decoupling import (
    Adversaries,
    Backbone,
    CopyConsistency,
    GateMargin,
    GatesToOutput,
    Hardening,
    LossWeights,
    OutputToGates,
)
from detector.decoupling.recipes import Cosine, Crop, Preset, Steps, recipe_of

# The published training settings: backbone, batch, learning rate, epochs, epochs at which the rate
# falls, lambda_k, lambda_m, lambda_s, R, direction of the divergence.
PUBLISHED = {
    Preset.RESNET56_CIFAR10: (
        Backbone.CIFAR_RESNET56, 128, 0.1, 200, (100, 150), 1, 0.01, 1.5e-4, 0, OutputToGates,
    ),
    Preset.VGG_CIFAR10: (
        Backbone.CIFAR_VGG19_BN, 128, 0.1, 200, (100, 150), 1, 0.04, 2e-4, 0, GatesToOutput,
    ),
    Preset.GOOGLENET_CIFAR10: (
        Backbone.CIFAR_GOOGLENET, 128, 0.1, 200, (100, 150), 1, 0.006, 5e-5, 0, OutputToGates,
    ),
    Preset.RESNET18_IMAGENET: (
        Backbone.RESNET18, 256, 0.01, 120, (30, 60, 90), 1, 0.005, 0.01, 0.6, OutputToGates,
    ),
    Preset.VGG16_IMAGENET: (
        Backbone.VGG16, 64, 0.01, 120, (30, 60, 90), 1, 0.01, 0.01, 0.5, GatesToOutput,
    ),
}  # fmt: skip


@pytest.mark.parametrize("preset", PUBLISHED)
def test_preset_is_the_published_recipe(preset):
    backbone, batch, rate, epochs, falls, align, inform, sparse, share, direction = PUBLISHED[
        preset
    ]
    recipe = recipe_of(preset)
    phase = recipe.decoupled
    assert (recipe.backbone, recipe.batch_size) == (backbone, batch)
    assert (phase.epochs, phase.learning_rate, phase.weight_decay) == (epochs, rate, 1e-4)
    assert phase.schedule == Steps(milestones=tuple(fall / epochs for fall in falls))
    assert recipe.weights == LossWeights(
        alignment=align, information=inform, sparsity=sparse, open_share=share
    )
    assert recipe.alignment == direction()
    assert recipe.crop is (Crop.RESIZED if backbone in {"resnet18", "vgg16"} else Crop.PAD_4)
    assert (phase.nesterov, phase.average_decay, phase.noise_ramp, phase.small_share) == (
        False, 0, 0, 0,
    )  # fmt: skip


def test_every_preset_but_the_short_ones_is_published():
    assert set(Preset) - set(PUBLISHED) == {
        Preset.RESNET20_CIFAR10,
        Preset.RESNET20_CIFAR10_ROBUST,
        Preset.WIDE_RESNET8_CIFAR10,
    }


@pytest.mark.parametrize("preset", Preset)
def test_a_recipe_reads_the_same_in_every_process(preset):
    recipe, again = recipe_of(preset), recipe_of(preset)
    assert recipe == again
    assert repr(recipe) == repr(again)
    assert " at 0x" not in repr(recipe)


@pytest.mark.parametrize("preset", Preset)
def test_a_recipe_is_shortened_only_where_it_is_asked_to(preset):
    recipe = recipe_of(preset)
    assert recipe.shortened(plain_epochs=None, decoupled_epochs=None) == recipe
    short = recipe.shortened(plain_epochs=2, decoupled_epochs=None)
    assert (short.plain.epochs, short.decoupled) == (2, recipe.decoupled)
    short = recipe.shortened(plain_epochs=None, decoupled_epochs=3)
    assert (short.plain, short.decoupled.epochs) == (recipe.plain, 3)


def test_only_a_phase_that_a_recipe_has_is_shortened():
    ours, published = recipe_of(Preset.RESNET20_CIFAR10), recipe_of(Preset.RESNET56_CIFAR10)
    short = ours.shortened(settled_epochs=1)
    assert (short.settled.epochs, short.decoupled) == (1, ours.decoupled)
    assert published.settled is None
    assert published.shortened(settled_epochs=1) == published


def test_steps_divide_the_rate_by_ten_at_each_milestone():
    schedule = Steps(milestones=(0.5, 0.75))
    assert [schedule(progress) for progress in (0, 0.499, 0.5, 0.75)] == pytest.approx(
        [1, 1, 0.1, 0.01]
    )


def test_a_cosine_rises_and_falls_to_zero_and_never_leaves_its_range():
    schedule = Cosine(warmup=0.1)
    rates = [schedule(step / 1000) for step in range(1000)]
    assert rates[:101] == sorted(rates[:101])
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert max(rates) == pytest.approx(1)
    assert min(rates) > 0
    assert rates[-1] < 1e-4
    assert schedule(0.55) == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))


@pytest.mark.parametrize("backbone", Backbone)
def test_a_recipe_can_be_had_for_any_backbone(backbone):
    recipe = recipe_of(Preset.RESNET18_IMAGENET)
    other = recipe.with_backbone(backbone)
    assert other.backbone is backbone
    assert other.with_backbone(recipe.backbone) == recipe


def test_a_network_that_is_trained_already_takes_a_third_of_the_rate_and_full_images_only():
    recipe = recipe_of(Preset.RESNET20_CIFAR10)
    further = recipe.from_trained()
    assert further.plain.learning_rate == pytest.approx(recipe.plain.learning_rate / 3)
    assert (recipe.plain.small_share, further.plain.small_share) == (0.4, 0.0)
    assert further.decoupled == recipe.decoupled


def test_fewer_open_gates_are_asked_for_with_more_pressure_and_nothing_else_changes():
    recipe = recipe_of(Preset.RESNET20_CIFAR10)
    for share in (0.0, 0.3, 0.6, 0.8, 1.0):
        other = recipe.with_open_share(share)
        assert other.weights.open_share == share
        assert replace(other, weights=recipe.weights) == recipe
        assert replace(other.weights, sparsity=0, open_share=0) == replace(
            recipe.weights, sparsity=0, open_share=0
        )
    pressures = [recipe.with_open_share(s).weights.sparsity for s in (0.3, 0.6, 0.8, 1.0)]
    assert pressures == sorted(pressures, reverse=True)
    assert recipe.with_open_share(recipe.weights.open_share) == recipe
    assert recipe.with_open_share(1.0).weights.sparsity == recipe.weights.sparsity


@pytest.mark.parametrize("preset", Preset)
def test_larger_steps_are_longer_and_average_over_as_many_images(preset):
    recipe = recipe_of(preset)
    larger = recipe.with_batch_size(4 * recipe.batch_size)
    assert larger.batch_size == 4 * recipe.batch_size
    for before, after in (
        (recipe.plain, larger.plain),
        (recipe.decoupled, larger.decoupled),
        *([] if recipe.settled is None else [(recipe.settled, larger.settled)]),
    ):
        assert after.learning_rate == pytest.approx(4 * before.learning_rate)
        assert after.average_decay == pytest.approx(before.average_decay**4)
        same = {"learning_rate": before.learning_rate, "average_decay": before.average_decay}
        assert replace(after, **same) == before
    assert (larger.settled is None) == (recipe.settled is None)
    assert recipe.with_batch_size(recipe.batch_size) == recipe


# ---- hardening


@pytest.mark.parametrize("preset", Preset)
def test_a_hardened_recipe_differs_in_its_hardening_alone_and_reads_as_before(preset):
    recipe = recipe_of(preset)
    hardened = recipe.hardened().with_gate_margin(0.1).with_copy_consistency(0.5)
    assert replace(hardened, hardening=None) == replace(recipe, hardening=None)
    assert repr(hardened) == repr(recipe)
    assert "hardening" not in repr(recipe)
    assert (
        hardened.hardening.plain
        == hardened.hardening.decoupled
        == Adversaries(epsilon=8 / 255, steps=3, relative_step=0.75)
    )
    assert [(term.name, term.weight) for term in hardened.hardening.terms] == [
        ("gate_margin", 0.1), ("copy_consistency", 0.5),
    ]  # fmt: skip


def test_only_the_robust_preset_is_hardened_by_one_step_in_every_phase():
    hardened = [preset for preset in Preset if recipe_of(preset).hardening is not None]
    assert hardened == [Preset.RESNET20_CIFAR10_ROBUST]
    recipe = recipe_of(Preset.RESNET20_CIFAR10_ROBUST)
    one_step = Adversaries(epsilon=4 / 255, steps=1, relative_step=1.25)
    assert recipe.hardening == Hardening(plain=one_step, decoupled=one_step)
    assert recipe.hardened(one_step) == recipe
    assert recipe.hardening.terms == ()


def test_a_part_of_the_hardening_can_be_had_alone():
    recipe = recipe_of(Preset.RESNET20_CIFAR10)
    margin = recipe.with_gate_margin(0.1).hardening
    assert margin == Hardening(gate_margin=GateMargin(weight=0.1))
    copies = recipe.with_copy_consistency(0.1).hardening
    assert copies == Hardening(consistency=CopyConsistency(weight=0.1))
