"""An attack that breaks a property is caught, whatever library it comes from."""

from __future__ import annotations

import pytest
import torch

from detector.attacks import Attack, AttackedModel, LinfBall, Pgd
from detector.errors import AttackError


class Saboteur(Attack):
    def __init__(self, act) -> None:
        self.act = act

    @property
    def ball(self) -> LinfBall:
        return LinfBall(0.1)

    def _perturb(self, model, images, labels):
        return self.act(model, images)


def keep(change):
    """Break the images of which `change` makes others."""
    return lambda model, images: change(images)


def train_all(model, images):
    model.train()
    return images


def train_one(model, images):
    model.network.backbone.bn1.train()
    return images


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (keep(lambda images: (images + 0.2).clamp(0, 1)), r"stay within LinfBall"),
        (keep(lambda images: images + 0.05), r"pixels in \[0, 1\]"),
        (keep(lambda images: images - 0.05), r"pixels in \[0, 1\]"),
        (keep(lambda images: images * torch.nan), r"finite pixels"),
        (keep(lambda images: images[:2]), r"shape \(5, 3, 8, 8\)"),
        (keep(lambda images: images.double()), r"torch.float32"),
        (train_all, r"evaluation mode"),
        (train_one, r"evaluation mode.*bn1"),
    ],
)
def test_sabotage_is_caught_and_the_model_restored(act, message, target) -> None:
    model = AttackedModel(target.network, target.preprocessing).eval()
    with pytest.raises(AttackError, match=message):
        Saboteur(act)(model, target.images, target.labels)
    assert not any(module.training for module in model.modules())


def test_rounding_errors_beyond_the_bounds_are_clipped_away(target) -> None:
    model = AttackedModel(target.network, target.preprocessing)
    images = target.images
    attacked = Saboteur(keep(lambda images: images + 3e-8 + 0.0))(model, images, target.labels)
    assert attacked.max() <= 1
    high = Saboteur(keep(lambda images: (images + 0.1 + 1e-7).clamp(max=1)))(
        model, images, target.labels
    )
    assert ((high - images).abs() <= 0.1 + 6e-8).all()


def test_a_library_that_leaves_its_ball_is_caught(target, monkeypatch) -> None:
    monkeypatch.setattr(
        "torchattacks.PGD.forward", lambda self, images, labels: 1 - images, raising=True
    )
    model = AttackedModel(target.network, target.preprocessing)
    with pytest.raises(AttackError, match="Pgd should stay within LinfBall"):
        Pgd(epsilon=8 / 255)(model, target.images, target.labels)
