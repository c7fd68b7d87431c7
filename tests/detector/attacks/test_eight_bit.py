"""The minimum-norm attack of 8-bit images."""

from __future__ import annotations

import pytest
import torch

from detector.attacks import AttackedModel, Ddn, DeepFool, attack_images
from detector.attacks.balls import to_eight_bits
from detector.decoupling import Frozen, Relaxed, StraightThrough


def run(target, attack, labels=None):
    labels = target.labels if labels is None else labels
    return attack_images(target.network, target.preprocessing, target.pixels, labels, attack)


@pytest.mark.parametrize("way", [StraightThrough(), Relaxed(0.3), Frozen()], ids=repr)
def test_what_it_keeps_fools_hard_gates_after_rounding(way, target) -> None:
    model = AttackedModel(target.network, target.preprocessing, way)
    attacked = Ddn(steps=40)(model, target.images, target.labels)
    assert torch.equal(attacked, to_eight_bits(attacked))
    changed = (attacked != target.images).flatten(1).any(dim=1)
    with torch.no_grad():
        hard = AttackedModel(target.network, target.preprocessing).eval()(attacked).argmax(dim=1)
    assert changed.any()
    assert (hard != target.labels)[changed].all()


def test_each_image_is_beaten_though_rounding_saves_many_from_deepfool(target) -> None:
    attacked, floats = run(target, Ddn(steps=30)), run(target, DeepFool(steps=10))
    assert attacked.success.all()
    assert attacked.success.sum() >= floats.success.sum()


def test_longer_search_finds_smaller_changes(target) -> None:
    sizes = [
        (run(target, Ddn(steps=steps)).images.float() - target.pixels).flatten(1).norm(dim=1)
        for steps in (10, 40)
    ]
    assert (sizes[1] < sizes[0]).all()


def test_an_image_that_is_wrong_already_needs_no_change(target) -> None:
    wrong = (target.labels + 1) % 4
    result = run(target, Ddn(steps=5), wrong)
    assert torch.equal(result.images, target.pixels)
