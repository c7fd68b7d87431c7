"""The attack that moves images."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from detector.attacks import AttackedModel, Spatial, attack_images
from detector.attacks.result import margins


def model_of(target) -> AttackedModel:
    return AttackedModel(target.network, target.preprocessing).eval()


def test_it_beats_most_images_in_one_way(target) -> None:
    result = attack_images(
        target.network, target.preprocessing, target.pixels, target.labels, Spatial(tries=30)
    )
    assert result.ways == ("frozen",)
    assert result.success.sum() >= 4


def test_without_room_images_stay_as_they_were(target) -> None:
    still = Spatial(degrees=0, shift=0, zoom=0, tries=2)
    result = attack_images(
        target.network, target.preprocessing, target.pixels, target.labels, still
    )
    assert torch.equal(result.images, target.pixels)


def test_more_tries_never_weaken_it(target) -> None:
    model = model_of(target)
    worst = []
    for tries in (1, 4, 16):
        attacked = Spatial(tries=tries)(model, target.images, target.labels, seed=2)
        with torch.no_grad():
            worst.append(margins(model(attacked), target.labels))
    with torch.no_grad():
        worst.insert(0, margins(model(target.images), target.labels))
    assert all((more >= fewer - 1e-6).all() for fewer, more in pairwise(worst))
    assert (worst[-1] > worst[0]).any()


def test_no_black_corners_give_it_away() -> None:
    white = torch.ones(20, 3, 8, 8)
    moved = Spatial()._moved(white)
    torch.testing.assert_close(moved, white)


def test_long_images_turn_without_shear() -> None:
    rows, columns = torch.meshgrid(torch.arange(24) - 11.5, torch.arange(48) - 23.5, indexing="ij")
    radius = torch.hypot(rows, columns)
    disc = (3 - radius / 3).clamp(0, 1).expand(10, 3, 24, 48)
    torch.manual_seed(0)
    turned = Spatial(degrees=90, shift=0, zoom=0)._moved(disc)
    inside = radius < 11.5  # farther out the mirrored edges come in
    assert (turned - disc)[:, :, inside].abs().amax() < 0.2


@pytest.mark.parametrize(
    ("attack", "moved"), [(Spatial(degrees=0, zoom=0, shift=0.25), 4), (Spatial(shift=0), 0)]
)
def test_an_image_moves_as_far_as_the_shift_says(attack, moved) -> None:
    """The centre of a disc in an image of 16 pixels, over many draws."""
    line = torch.arange(16) - 7.5
    disc = (3 - torch.hypot(line[:, None], line)).clamp(0, 1).expand(400, 3, 16, 16)
    torch.manual_seed(0)
    drawn = attack._moved(disc)[:, 0]
    centre = (drawn * line).sum(dim=(1, 2)) / drawn.sum(dim=(1, 2))
    assert float(centre.abs().amax()) == pytest.approx(moved, abs=0.2)
