"""Three ways through the gates, 8-bit images, hard gates as the judge."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from detector.attacks import (
    Attack,
    AttackedModel,
    CwL2,
    DeepFool,
    Fgsm,
    LinfBall,
    Pgd,
    SignNoise,
    StrongestOf,
    attack_images,
)
from detector.decoupling import Frozen, Relaxed, StraightThrough, always_open
from detector.errors import InvalidInputError

EPSILON = 8 / 255
WAYS = (StraightThrough(), Relaxed(1.0), Frozen())


def gradient_through(target, way):
    images = target.images.requires_grad_()
    logits = AttackedModel(target.network, target.preprocessing, way).eval()(images)
    return torch.autograd.grad(logits.square().sum(), images)[0]


def predictions(target, pixels):
    with torch.no_grad():
        return target.network.eval()(target.preprocessing(pixels)).class_logits.argmax(dim=1)


def margins(target, pixels):
    with torch.no_grad():
        logits = target.network.eval()(target.preprocessing(pixels)).class_logits
    true = logits.gather(1, target.labels[:, None])[:, 0]
    return logits.scatter(1, target.labels[:, None], -torch.inf).amax(dim=1) - true


def test_the_three_ways_give_three_gradients(target) -> None:
    straight, relaxed, frozen = (gradient_through(target, way) for way in WAYS)
    for first, second in ((straight, relaxed), (straight, frozen), (relaxed, frozen)):
        assert not torch.allclose(first, second, rtol=1e-3, atol=1e-6)


def test_straight_through_and_frozen_gates_predict_what_hard_gates_predict(target) -> None:
    with torch.no_grad():
        outputs = [
            AttackedModel(target.network, target.preprocessing, way).eval()(target.images)
            for way in (StraightThrough(), Frozen())
        ]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0].argmax(dim=1), target.labels)


def test_the_strongest_way_is_kept_for_each_image(target) -> None:
    attack = Fgsm(epsilon=2 / 255)
    together = attack_images(
        target.network, target.preprocessing, target.pixels, target.labels, attack
    )
    alone = [
        StrongestOf(ways=(way,))(
            target.network, target.preprocessing, target.pixels, target.labels, attack
        )
        for way in WAYS
    ]
    fooled = torch.stack([result.prediction != target.labels for result in alone])
    assert torch.equal(together.prediction != target.labels, fooled.any(dim=0))
    # With one margin rule for all, success first then margin is just the largest margin.
    best = torch.stack([result.margin for result in alone]).amax(dim=0)
    torch.testing.assert_close(together.margin, best)
    for row, way in enumerate(together.way.tolist()):
        assert torch.equal(together.images[row], alone[way].images[row])


def test_success_means_right_before_and_wrong_after(target) -> None:
    labels = target.labels.clone()
    labels[0] = (labels[0] + 1) % 4  # the network is wrong on this one before any attack
    result = attack_images(
        target.network, target.preprocessing, target.pixels, labels, Pgd(epsilon=EPSILON)
    )
    assert torch.equal(result.original_prediction, target.labels)
    assert not result.success[0]
    assert result.success[1:].any()
    assert torch.equal(result.success[1:], (result.prediction != labels)[1:])


class Fading(Attack):
    """Fools the network in floats only: each change is less than half of an 8-bit step."""

    @property
    def ball(self) -> LinfBall:
        return LinfBall(0.4 / 255)

    def _perturb(self, model, images, labels):
        return (images + 0.4 / 255).clamp(0, 1)


def test_success_is_checked_on_what_rounding_leaves(target) -> None:
    result = attack_images(
        target.network, target.preprocessing, target.pixels, target.labels, Fading()
    )
    assert torch.equal(result.images, target.pixels)
    assert not result.success.any()


@pytest.mark.parametrize(
    "attack", [Pgd(epsilon=EPSILON), CwL2(steps=20, trade_off=10.0), DeepFool(steps=4)], ids=repr
)
def test_the_result_is_what_hard_gates_say_of_the_8_bit_images(attack, target) -> None:
    result = attack_images(
        target.network, target.preprocessing, target.pixels, target.labels, attack
    )
    assert result.images.dtype == torch.uint8
    assert torch.equal(result.prediction, predictions(target, result.images))
    torch.testing.assert_close(result.margin, margins(target, result.images), rtol=0, atol=1e-4)


def test_a_png_file_keeps_the_images_as_they_are(target) -> None:
    result = attack_images(
        target.network, target.preprocessing, target.pixels, target.labels, Pgd(epsilon=EPSILON)
    )
    for image in result.images:
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "PNG")
        with Image.open(file) as read:
            assert np.array_equal(np.array(read), image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("epsilon", [0.01, 2 / 255, 8 / 255])
def test_8_bit_images_stay_within_epsilon_also_between_two_steps(epsilon, target) -> None:
    result = attack_images(
        target.network, target.preprocessing, target.pixels, target.labels, Pgd(epsilon=epsilon)
    )
    change = (result.images.int() - target.pixels.int()).abs()
    assert change.max() <= epsilon * 255 + 1e-6


def test_epsilon_zero_gives_the_clean_images(target) -> None:
    result = attack_images(
        target.network, target.preprocessing, target.pixels, target.labels, Pgd(epsilon=0)
    )
    assert torch.equal(result.images, target.pixels)
    assert not result.success.any()


def test_more_epsilon_never_means_less_success(target) -> None:
    counts = [
        int(
            attack_images(
                target.network,
                target.preprocessing,
                target.pixels,
                target.labels,
                Pgd(epsilon=epsilon / 255, steps=20),
            ).success.sum()
        )
        for epsilon in (0, 1, 4, 16)
    ]
    assert counts == sorted(counts)
    assert counts[-1] == len(target.labels)


def test_among_minimum_norm_attacks_the_smaller_change_is_the_stronger(target) -> None:
    attack = DeepFool(steps=6, overshoot=1.0)
    together, *alone = (
        StrongestOf(ways=ways)(
            target.network, target.preprocessing, target.pixels, target.labels, attack
        )
        for ways in (WAYS, *((way,) for way in WAYS))
    )

    def distance(result):
        change = (result.images.float() - target.pixels.float()).flatten(1).norm(dim=1)
        return torch.where(result.success, change, torch.inf)

    best = torch.stack([distance(result) for result in alone]).amin(dim=0)
    assert together.success.any()
    assert torch.equal(distance(together), best)


def test_networks_without_gates_are_attacked_in_one_way(plain_target) -> None:
    target = plain_target
    result = attack_images(
        target.network, target.preprocessing, target.pixels, target.labels, Pgd(epsilon=EPSILON)
    )
    assert result.ways == ("frozen",)
    assert result.success.any()


def test_networks_whose_gates_never_close_are_attacked_as_the_plain_ones_inside(
    plain_target,
) -> None:
    target, attack = plain_target, Pgd(epsilon=EPSILON)
    plain, opened = (
        attack_images(network, target.preprocessing, target.pixels, target.labels, attack)
        for network in (target.network, always_open(target.network))
    )
    assert opened.ways == ("frozen",)
    assert torch.equal(opened.images, plain.images)
    assert torch.equal(opened.margin, plain.margin)


def test_noise_needs_one_way_only(target) -> None:
    result = attack_images(
        target.network, target.preprocessing, target.pixels, target.labels, SignNoise(epsilon=0.01)
    )
    assert result.ways == ("frozen",)


def test_ways_are_named(target) -> None:
    result = attack_images(
        target.network, target.preprocessing, target.pixels, target.labels, Fgsm(epsilon=EPSILON)
    )
    assert result.ways == ("straight-through-1", "relaxed-1", "frozen")


@pytest.mark.parametrize("training", [False, True])
def test_the_network_is_left_in_its_mode(training, target) -> None:
    target.network.train(training)
    attack_images(
        target.network, target.preprocessing, target.pixels, target.labels, Fgsm(epsilon=EPSILON)
    )
    assert all(module.training == training for module in target.network.modules())


def test_float_images_and_foreign_labels_are_refused(target) -> None:
    attack = Fgsm(epsilon=EPSILON)
    with pytest.raises(InvalidInputError, match="should be uint8"):
        attack_images(target.network, target.preprocessing, target.images, target.labels, attack)
    with pytest.raises(InvalidInputError, match=r"should lie in 0\.\.3"):
        attack_images(
            target.network, target.preprocessing, target.pixels, target.labels + 4, attack
        )
