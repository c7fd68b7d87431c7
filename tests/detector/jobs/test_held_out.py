"""The promise never rests on images that the network was trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detector.data import ArraySource, Splits
from detector.errors import DataError
from detector.jobs.held_out import check_held_out
from detector.path_table import SplitName
from detector.preprocessing import Preprocessing

SIDE = Preprocessing(height=2, width=2, shorter_side=2, mean=(0.5,) * 3, std=(0.5,) * 3)


def source(count: int = 40) -> ArraySource:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 2, 2, 3), dtype=np.uint8)
    return ArraySource(pixels, np.arange(count) % 2, "ab")


def divided(count: int = 40, calibration: ArraySource | None = None) -> Splits:
    return Splits.divide(source(count), source(), calibration=calibration, preprocessing=SIDE)


@pytest.fixture
def trained(network_info):
    """A network that was trained on the first 40 images."""
    return replace(network_info, provenance={"data": divided().train.digest()})


def test_the_same_training_images_are_taken(trained) -> None:
    check_held_out(trained, divided(), SplitName)


def test_one_training_image_more_is_refused_where_calibration_is_held_out_of_them(trained) -> None:
    more = divided(41)
    with pytest.raises(DataError, match="new images into calibration/"):
        check_held_out(trained, more, [SplitName.FIT, SplitName.CALIBRATION])
    moved = np.setdiff1d(more.calibration.ids, divided().calibration.ids)
    assert len(moved)  # which the network was trained on


def test_calibration_images_of_their_own_are_taken_whatever_training_has_now(trained) -> None:
    check_held_out(trained, divided(41, calibration=source()), SplitName)


def test_other_splits_and_networks_that_do_not_say_are_not_held_to_it(
    trained, network_info
) -> None:
    check_held_out(trained, divided(41), [SplitName.TEST, SplitName.TRAIN])
    check_held_out(network_info, divided(41), SplitName)
