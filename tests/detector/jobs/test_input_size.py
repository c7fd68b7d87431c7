"""A network that cannot read images of a size is found out before it is trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detector.errors import InvalidInputError
from detector.jobs.input_size import check_input_size
from detector.preprocessing import IMAGENET_PREPROCESSING


def pooling() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.MaxPool2d(4), nn.AdaptiveAvgPool2d(1)
    )


def test_images_that_pooling_shrinks_to_nothing_are_refused() -> None:
    with pytest.raises(
        InvalidInputError, match=r"of 3 x 3 pixels\. Found .*--input-size"
    ) as caught:
        check_input_size(pooling(), IMAGENET_PREPROCESSING.resized(3))
    assert caught.value.field == "input_size"


@pytest.mark.parametrize("training", [True, False])
def test_a_network_is_left_as_it_was(training) -> None:
    network = pooling().train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    drawn = torch.get_rng_state()
    check_input_size(network, IMAGENET_PREPROCESSING.resized(4))
    assert network.training is training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
