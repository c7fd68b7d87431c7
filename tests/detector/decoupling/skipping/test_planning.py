"""A plan is measured, and followed only where it pays at both ends."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from detector.decoupling import Backbone, build_backbone
from detector.decoupling.skipping import (
    Comparison,
    SkippingChoice,
    SkippingPlan,
    Way,
    choose_plan,
    planning,
)
from detector.decoupling.skipping.compiling import Compiler


def choice(alone, together):
    return SkippingChoice(
        plan=SkippingPlan(names=("a", "b"), ways=(Way.MASKED, Way.CHANNELS_MULTIPLIED)),
        alone=Comparison(images=1, masked_s=1.0, skipped_s=alone),
        together=Comparison(images=32, masked_s=20.0, skipped_s=20 * together),
    )


@pytest.mark.parametrize(
    ("alone", "together", "pays"),
    [
        (0.70, 0.90, True),
        (0.70, 1.02, True),
        (0.70, 1.05, False),  # one way for all sizes: large batches would lose
        (0.99, 0.90, False),  # no more than two measurements differ by
        (1.30, 0.90, False),
    ],
)
def test_skipping_pays_where_one_image_gains_and_the_largest_batch_does_not_lose(
    alone, together, pays
):
    assert choice(alone, together).pays is pays


@pytest.mark.parametrize(
    ("alone", "together", "hopeless"),
    [
        (0.50, 1.02, False),
        (1.10, 1.20, False),  # two looks may err by as much
        (1.30, 0.90, True),
        (0.50, 1.30, True),
    ],
)
def test_it_is_hopeless_where_either_end_loses_more_than_two_looks_can_err(
    alone, together, hopeless
):
    assert choice(alone, together).is_hopeless is hopeless


@pytest.mark.parametrize(("masked_s", "measured"), [(1e-9, False), (1e9, True)])
def test_where_a_glance_is_hopeless_nothing_more_is_measured(
    masked_s, measured, decouple, monkeypatch
):
    network = decouple(build_backbone(Backbone.CIFAR_RESNET20, 10).eval())
    images = torch.randn(2, 3, 12, 12)
    compared = []

    def compare(_network, _skipping, _images, size):
        compared.append(size)
        return Comparison(images=size, masked_s=1.0, skipped_s=0.5)

    monkeypatch.setattr(planning, "_masked_seconds", lambda *_: masked_s)
    monkeypatch.setattr(planning, "_compared", compare)
    found, skipping = choose_plan(network, images, 4)
    assert compared == ([1, 4] if measured else [])
    assert found.pays is measured
    assert (found.alone.images, found.together.images) == (1, 4)
    assert skipping.plan == found.plan


def test_a_choice_is_plain_data_with_the_way_of_each_layer():
    written = json.loads(json.dumps(choice(0.5, 1.0).to_json()))
    assert written == {
        "pays": True,
        "layers": {"a": "masked", "b": "open-channels-multiplied"},
        "seconds": [
            {"images": 1, "masked": 1.0, "skipped": 0.5},
            {"images": 32, "masked": 20.0, "skipped": 20.0},
        ],
    }


def test_every_layer_is_measured_and_the_network_that_comes_of_it_follows_the_plan(decouple):
    network = decouple(build_backbone(Backbone.CIFAR_RESNET20, 10).eval())
    images = torch.randn(2, 3, 12, 12)
    found, skipping = choose_plan(network, images, 3)
    assert found.plan.names == network.layout.names
    assert skipping.plan == found.plan
    assert (found.alone.images, found.together.images) == (1, 3)
    assert min(found.alone.masked_s, found.together.skipped_s) > 0
    with torch.inference_mode():
        expected = network(images)
    torch.testing.assert_close(
        skipping(images).class_logits, expected.class_logits, rtol=1e-4, atol=1e-4
    )


class Grouped(nn.Module):
    """A convolution that cannot leave anything out, before one that can."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.grouped = nn.Conv2d(4, 6, 3, groups=2)
        self.last = nn.Conv2d(6, 8, 3)
        self.fc = nn.Linear(8, 2)

    def forward(self, images):
        features = torch.relu(self.grouped(torch.relu(self.stem(images))))
        return self.fc(torch.relu(self.last(features)).mean(dim=(2, 3)))


def test_a_plan_names_no_way_that_a_layer_is_not_computed_in(decouple):
    compiler = Compiler(decouple(Grouped()))
    assert compiler.ways_of("grouped") == (Way.MASKED,)
    assert compiler.ways_of("last") == tuple(Way)
    residual = Compiler(decouple(build_backbone(Backbone.CIFAR_RESNET20, 10)))
    filters_alone = (Way.MASKED, Way.FILTERS_CONVOLVED, Way.FILTERS_MULTIPLIED)
    assert residual.ways_of("layer1.0.conv1") == filters_alone  # it reads a sum: all channels
    assert residual.ways_of("layer1.0.conv2") == tuple(Way)
    found, _ = choose_plan(decouple(Grouped()), torch.randn(2, 3, 9, 9), 2)
    assert found.plan.ways[found.plan.names.index("grouped")] is Way.MASKED


def test_the_largest_batch_may_be_larger_than_the_images_at_hand(decouple):
    network = decouple(build_backbone(Backbone.CIFAR_RESNET20, 10).eval())
    found, _ = choose_plan(network, torch.randn(1, 3, 8, 8), 4)
    assert found.together.images == 4
