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
        ({"weight": torch.zeros(2, 3)}, "Missing key.*bias"),
        ({"weight": torch.zeros(3, 3), "bias": torch.zeros(2)}, "size mismatch"),
    ],
    ids=["list", "tensor", "network", "checkpoint", "numbers", "a part", "another size"],
)
def test_what_is_no_state_dict_of_the_network_is_refused(weights, found) -> None:
    with pytest.raises(DataError, match=rf"(?s)should be a state dict.*{found}"):
        fit_initial_weights(nn.Linear(3, 2), weights)
