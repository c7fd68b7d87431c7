"""Images made on one network, judged on another."""

from __future__ import annotations

import pytest
import torch

from detector.attacks import Fgsm, Pgd, StrongestOf, TransferThrough, attack_images
from detector.decoupling import DecoupledNetwork, Frozen
from detector.decoupling.backbones import CifarResNet
from detector.errors import InvalidInputError

ATTACK = Pgd(epsilon=16 / 255, steps=5)


def surrogate_of(kind: str):
    torch.manual_seed(1)
    backbone = CifarResNet(1, 4, widths=(8, 8, 8))
    return (backbone if kind == "plain" else DecoupledNetwork(backbone)).eval()


def transfer(target, surrogate, attack=ATTACK, **changes):
    through = TransferThrough(surrogate=surrogate, preprocessing=target.preprocessing, **changes)
    return through(
        target.network, target.preprocessing, target.pixels, target.labels, attack, seed=3
    )


@pytest.mark.parametrize("kind", ["plain", "decoupled"])
def test_the_surrogate_makes_the_images_and_the_network_judges_them(kind, target) -> None:
    surrogate = surrogate_of(kind)
    result = transfer(target, surrogate)
    made = attack_images(
        surrogate, target.preprocessing, target.pixels, target.labels, ATTACK, seed=3
    )
    assert torch.equal(result.images, made.images)
    assert torch.equal(result.way, made.way)
    assert result.ways == made.ways
    with torch.no_grad():
        logits = target.network(target.preprocessing(result.images)).class_logits
    assert torch.equal(result.prediction, logits.argmax(dim=1))
    assert torch.equal(result.original_prediction, target.labels)
    assert torch.equal(result.success, result.prediction != target.labels)
    assert torch.equal(result.margin > 0, result.success)


def test_a_copy_of_the_network_as_surrogate_is_the_attack_on_itself(target) -> None:
    result = transfer(target, target.network)
    white_box = attack_images(
        target.network, target.preprocessing, target.pixels, target.labels, ATTACK, seed=3
    )
    assert torch.equal(result.images, white_box.images)
    assert torch.equal(result.success, white_box.success)
    torch.testing.assert_close(result.margin, white_box.margin)


def test_the_attack_takes_the_ways_that_it_is_given(target) -> None:
    surrogate = surrogate_of("decoupled")
    strongest = StrongestOf(ways=(Frozen(),))
    result = transfer(target, surrogate, Fgsm(epsilon=0.1), strongest=strongest)
    assert result.ways == ("frozen",)


def test_both_networks_are_left_in_their_mode(target) -> None:
    surrogate = surrogate_of("decoupled").train()
    transfer(target, surrogate, Fgsm(epsilon=0.1))
    assert all(module.training for module in surrogate.modules())
    assert not any(module.training for module in target.network.modules())


def test_labels_that_are_no_classes_are_refused(target) -> None:
    through = TransferThrough(surrogate=surrogate_of("plain"), preprocessing=target.preprocessing)
    with pytest.raises(InvalidInputError, match=r"should lie in 0\.\.3"):
        through(
            target.network,
            target.preprocessing,
            target.pixels,
            target.labels + 4,
            Fgsm(epsilon=0.1),
        )
