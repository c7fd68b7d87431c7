"""Weights from elsewhere fit, or the refusal says what was given instead."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision import models

from detector.decoupling import Backbone, build_backbone
from detector.errors import DataError
from detector.jobs.initial_weights import fit_initial_weights


def test_a_state_dict_fills_the_network() -> None:
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    fit_initial_weights(first, OrderedDict(second.state_dict()))
    assert torch.equal(first.weight, second.weight)


def test_torchvision_s_googlenet_fits_and_computes_the_same() -> None:
    """Its weights come with two auxiliary classifiers, and with a transform of the input."""
    with torch.device("meta"):
        theirs = models.googlenet(aux_logits=True, transform_input=True, init_weights=False)
        ours = build_backbone(Backbone.GOOGLENET, 1000)
    assert any(name.startswith("aux1.") for name in theirs.state_dict())
    torch.manual_seed(0)
    theirs, ours = theirs.to_empty(device="cpu"), ours.to_empty(device="cpu")
    for tensor in theirs.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.01, 0.02)
    fit_initial_weights(ours, theirs.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours.eval()(images), theirs.eval()(images))


@pytest.mark.parametrize(
    ("weights", "found"),
    [
        ([torch.zeros(2, 3)], "Found a list"),
        (torch.zeros(2, 3), "Found a Tensor"),
        (nn.Linear(3, 2), "Found a Linear"),
        ({"state_dict": {}, "epoch": 3}, "Found a dict under 'state_dict'"),
        ({0: torch.zeros(2)}, "Found a Tensor under 0"),
        ({"weight": torch.zeros(2, 3)}, r"Found no bias \(1 of 2\)\. Name the network"),
        (
            {"fc.weight": torch.zeros(2, 3), "bias": torch.zeros(2)},
            r"Found no weight \(1 of 2\) and besides fc\.weight \(1 of 2\)",
        ),
    ],
    ids=["list", "tensor", "network", "checkpoint", "numbers", "a part", "another name"],
)
def test_what_is_no_state_dict_of_the_network_is_refused(weights, found) -> None:
    with pytest.raises(DataError, match=rf"(?s)should be a state dict.*{found}"):
        fit_initial_weights(nn.Linear(3, 2), weights)


def small(classes: int, width: int = 4) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 1), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(4 * width, classes)
    )


def test_layers_of_another_size_are_refused() -> None:
    with pytest.raises(DataError, match=r"with \(4, 3, 1, 1\) values in '0\.weight'\. Found \(5, "):
        fit_initial_weights(small(2), small(2, width=5).state_dict())


def test_weights_of_other_classes_are_refused_where_nothing_trains_a_new_last_layer() -> None:
    with pytest.raises(DataError, match=r"for the 2 classes .* Found 1000 .*--plain-epochs"):
        fit_initial_weights(small(2), small(1000).state_dict())


def test_weights_of_other_classes_fill_all_but_the_last_layer_that_is_trained() -> None:
    network, given = small(2), small(1000).state_dict()
    fresh = network[3].weight.clone()
    fit_initial_weights(network, given, fresh_head=True)
    assert torch.equal(network[0].weight, given["0.weight"])
    assert torch.equal(network[3].weight, fresh)


def test_a_head_that_fits_is_taken_also_where_a_new_one_would_be_trained() -> None:
    network, given = small(2), small(2).state_dict()
    fit_initial_weights(network, given, fresh_head=True)
    assert torch.equal(network[3].weight, given["3.weight"])


def test_weights_that_were_saved_long_ago_lack_a_counter_and_fit() -> None:
    network, given = small(2), small(2).state_dict()
    del given["1.num_batches_tracked"]
    fit_initial_weights(network, given)
    assert torch.equal(network[0].weight, given["0.weight"])


def test_weights_out_of_a_parallel_wrapper_fit() -> None:
    network, given = small(2), small(2).state_dict()
    fit_initial_weights(network, {f"module.{name}": value for name, value in given.items()})
    assert torch.equal(network[3].bias, given["3.bias"])
