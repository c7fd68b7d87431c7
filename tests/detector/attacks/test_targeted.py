"""Attacks that try one wrong class after the other, and the one that asks for logits only."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detector.attacks import ApgdT, AttackedModel, Fab, Mim, Pgd, Square, attack_images
from detector.errors import InvalidInputError

LARGE = 16 / 255


class _Counting(nn.Module):
    """A linear classifier of six classes that counts the images it sees."""

    def __init__(self, classes: int = 6, pixels: int = 192) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(pixels, classes)
        self.seen = 0

    def forward(self, images):
        self.seen += len(images)
        return self.linear(images.flatten(1))


@pytest.mark.parametrize(
    "attack",
    [
        Mim(epsilon=LARGE),
        ApgdT(epsilon=LARGE, steps=10),
        Fab(epsilon=LARGE, steps=10),
        Square(epsilon=2 * LARGE, queries=150),
    ],
    ids=repr,
)
def test_with_enough_room_hardly_an_image_stands(attack, target) -> None:
    result = attack_images(
        target.network, target.preprocessing, target.pixels, target.labels, attack
    )
    assert result.success.sum() >= 4
    assert len(result.ways) == (3 if attack.follows_gradient else 1)


@pytest.mark.parametrize("attack_type", [ApgdT, Fab])
def test_the_number_of_targets_bounds_the_passes(attack_type) -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    passes = []
    for targets in (1, 3, 9):
        model = _Counting()
        labels = model(images).argmax(dim=1)
        attack_type(epsilon=1e-5, steps=4, targets=targets)(model, images, labels)
        passes.append(model.seen)
    assert passes[0] < passes[1] < passes[2]
    assert passes[2] < 2 * passes[1]  # five wrong classes, whatever is asked for


def test_fewer_than_four_classes_are_refused_where_the_loss_needs_them() -> None:
    images, labels = torch.rand(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(InvalidInputError, match=r"at least 4 classes\. Found 3\. Use apgd-ce"):
        ApgdT(epsilon=LARGE)(_Counting(classes=3), images, labels)
    attacked = Fab(epsilon=LARGE, steps=2)(_Counting(classes=2), images, labels)
    assert attacked.shape == images.shape


def test_square_beats_a_network_that_masks_its_gradients(target) -> None:
    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AttackedModel(target.network, target.preprocessing)

        def forward(self, images):
            return self.model((images * 255).round() / 255)

    model = Rounded().eval()
    found = []
    for attack in (Pgd(epsilon=2 * LARGE), Square(epsilon=2 * LARGE, queries=150)):
        attacked = attack(model, target.images, target.labels)
        with torch.no_grad():
            found.append(int((model(attacked).argmax(dim=1) != target.labels).sum()))
    assert found[1] > found[0]


def test_square_asks_no_more_often_than_it_may() -> None:
    images = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    model = _Counting()
    labels = model(images).argmax(dim=1)
    model.seen = 0
    Square(epsilon=0, queries=20)(model, images, labels)
    assert 20 <= model.seen <= 23  # and once before, once at the start, once after


def test_squares_fit_into_long_images() -> None:
    """Squares of a share of the area would be higher than the image."""
    images = torch.full((1, 3, 4, 64), 0.5)
    model = _Counting(pixels=3 * 4 * 64)
    labels = model(images).argmax(dim=1)
    attacked = Square(epsilon=LARGE, queries=60)(model, images, labels)
    assert (model(attacked).argmax(dim=1) != labels).all()
