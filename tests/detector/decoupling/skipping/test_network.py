"""A network that skips gives the bits of the masked one, and its class logits within rounding."""

from __future__ import annotations

import operator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from detector.decoupling import Backbone, DecoupledNetwork, build_backbone
from detector.decoupling.backbones import CifarResNet
from detector.decoupling.skipping import SkippingNetwork, SkippingPlan, Way

# Gate logits of these networks go up to some tens, and rounding grows along the layers.
UNDECIDED = 1e-3
TOLERANCE = 1e-4


def skipped(network, ways):
    names = network.layout.names
    plan = (
        SkippingPlan.uniform(names, ways)
        if isinstance(ways, Way)
        else SkippingPlan(names=names, ways=tuple(ways))
    )
    return SkippingNetwork.of(network, plan)


def assert_same(found, expected):
    decided = expected.path.logits.abs() > UNDECIDED
    # Where a gate within rounding of zero fell on the other side, all that follows may differ.
    rows = ((found.path.bits == expected.path.bits) | decided).all(dim=1)
    assert rows.any()
    assert torch.equal(found.path.bits[rows], expected.path.bits[rows])
    for name in ("logits", "activations"):
        torch.testing.assert_close(
            getattr(found.path, name)[rows],
            getattr(expected.path, name)[rows],
            rtol=TOLERANCE,
            atol=TOLERANCE,
        )
    largest = expected.class_logits.abs().max().clamp(min=1)
    difference = (found.class_logits - expected.class_logits)[rows].abs().max()
    assert difference <= TOLERANCE * largest


SMALL = {
    Backbone.CIFAR_RESNET20: (18, 21),
    Backbone.CIFAR_RESNET56: (12, 9),
    Backbone.CIFAR_WIDE_RESNET8: (16, 16),
    Backbone.CIFAR_VGG19_BN: (17, 20),
    Backbone.CIFAR_GOOGLENET: (9, 12),
    Backbone.RESNET18: (41, 50),
    Backbone.RESNET34: (33, 40),
    Backbone.RESNET50: (33, 33),
    Backbone.VGG16: (33, 36),
    Backbone.VGG16_BN: (33, 32),
    Backbone.GOOGLENET: (48, 40),
}


def test_every_backbone_is_compared():
    assert set(SMALL) == set(Backbone)


@pytest.mark.parametrize("name", Backbone)
def test_every_backbone_keeps_its_bits_and_class_logits_whatever_the_ways(name, decouple):
    network = decouple(build_backbone(name, 10).eval())
    draws = torch.Generator().manual_seed(3)
    ways = [
        list(Way)[i] for i in torch.randint(len(Way), (network.layout.layers,), generator=draws)
    ]
    images = torch.randn(2, 3, *SMALL[name])
    with torch.inference_mode():
        expected = network(images)
    assert 0.3 < expected.path.bits.float().mean() < 0.7
    assert_same(skipped(network, ways)(images), expected)


class Mixed(nn.Module):
    """Much of what user networks do: groups, dilation, names bound in place, unequal sums."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.scale = nn.Parameter(torch.rand(1, 8, 1, 1))
        self.reflected = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
        self.dilated = nn.Conv2d(8, 12, 3, padding=2, dilation=2, bias=False)
        self.norm = nn.BatchNorm2d(12, affine=False)
        self.grouped = nn.Conv2d(12, 12, 3, padding=1, groups=3)
        self.strided = nn.Conv2d(12, 10, (3, 1), stride=(2, 1), padding=(1, 0))
        self.branch = nn.Conv2d(12, 10, 1, stride=(2, 1))
        self.late_norm = nn.BatchNorm2d(20)
        self.pool = nn.AvgPool2d(2, ceil_mode=True)
        self.last = nn.Conv2d(20, 6, 2)
        self.head = nn.Linear(6 * 4, 5)
        self.rectify = nn.ReLU(inplace=True)

    def forward(self, images):
        features = self.rectify(self.stem(images)) * self.scale
        twice = self.reflected(features)
        self.rectify(twice)  # its name stands for the outcome
        features = features + twice
        features = functional.relu(self.norm(self.dilated(features)), inplace=True)
        features = operator.iadd(self.grouped(features), features)
        one, other = self.strided(features), self.branch(features)
        both = torch.cat([other, functional.max_pool2d(one, 3, 1, 1)], 1)
        both = self.pool(self.late_norm(both) + both.mean((2, 3), keepdim=True))
        last = functional.adaptive_max_pool2d(self.last(both), 2)
        return self.head(functional.dropout(last.flatten(1), training=self.training))


@pytest.mark.parametrize("way", Way)
def test_a_network_of_a_user_s_own_keeps_its_bits_and_class_logits(way, decouple):
    network = decouple(Mixed().eval())
    images = torch.randn(5, 3, 15, 14)
    with torch.inference_mode():
        expected = network(images)
    assert_same(skipped(network, way)(images), expected)


class ReadAgain(nn.Module):
    """Maps that are read, whole or through a view, after something was computed of them."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.one = nn.Conv2d(8, 8, 3, padding=1)
        self.two = nn.Conv2d(8, 8, 3, padding=1)
        self.three = nn.Conv2d(8, 8, 3, padding=1)
        self.same = nn.Identity()
        self.head = nn.Linear(32, 4)

    def forward(self, images):
        rectified = torch.relu(self.stem(images))
        total = self.one(rectified) + rectified
        named = self.same(total)
        again = torch.relu(total)
        last = self.two(again) + named
        some, others = last[:, :4], last[:, 4:]
        over = self.three(last) + torch.relu(last)
        parts = [over, named, rectified, some, others]
        return self.head(torch.cat([part.mean((2, 3)) for part in parts], 1))


@pytest.mark.parametrize("way", Way)
def test_nothing_is_written_over_that_is_still_read(way, decouple):
    network = decouple(ReadAgain().eval())
    images = torch.randn(3, 3, 9, 8)
    with torch.inference_mode():
        expected = network(images)
    assert_same(skipped(network, way)(images), expected)


def test_a_sum_and_what_rectifies_it_take_the_memory_of_a_map_that_nobody_reads(
    decouple, monkeypatch
):
    network = decouple(build_backbone(Backbone.CIFAR_RESNET20, 10).eval())
    skipping = skipped(network, Way.CHANNELS_MULTIPLIED)
    clones = []
    clone = torch.Tensor.clone
    monkeypatch.setattr(torch.Tensor, "clone", lambda *a, **k: clones.append(0) or clone(*a, **k))
    skipping(torch.randn(1, 3, 12, 12))
    assert len(clones) == 1  # of the image


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    bias=st.sampled_from([-30.0, -1.0, 0.0, 1.0, 30.0]),
    ways=st.lists(st.sampled_from(list(Way)), min_size=6, max_size=6),
)
def test_from_no_open_gate_to_all_of_them_the_outcome_is_the_same(seed, bias, ways):
    torch.manual_seed(seed)
    widths = tuple(int(width) for width in torch.randint(3, 40, (3,)).sort().values)
    network = DecoupledNetwork(CifarResNet(1, 4, widths=widths).eval())
    for controller in network.controllers:
        nn.init.normal_(controller.excite.weight)
        nn.init.constant_(controller.excite.bias, bias)
    network.eval()
    images = torch.randn(2, 3, 11, 8)
    with torch.inference_mode():
        expected = network(images)
    assert_same(skipped(network, ways)(images), expected)


@pytest.mark.parametrize("way", Way)
def test_an_image_has_the_same_numbers_alone_and_at_every_place_of_a_batch(way, decouple):
    network = skipped(decouple(build_backbone(Backbone.CIFAR_RESNET20, 10).eval()), way)
    images = torch.randn(7, 3, 13, 11).contiguous(memory_format=torch.channels_last)
    together = network(images)
    for row in range(len(images)):
        alone = network(images[row : row + 1])
        assert torch.equal(alone.class_logits[0], together.class_logits[row])
        for name in ("bits", "logits", "activations"):
            assert torch.equal(getattr(alone.path, name)[0], getattr(together.path, name)[row])


def test_large_maps_are_multiplied_in_bands_with_the_same_outcome(decouple):
    backbone = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.Conv2d(32, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, stride=2, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    network = decouple(backbone.eval())
    images = torch.randn(1, 3, 90, 130)  # 32 * 9 * 130 numbers a row: 7 rows at once or 6
    with torch.inference_mode():
        expected = network(images)
    assert_same(skipped(network, Way.CHANNELS_MULTIPLIED)(images), expected)


def test_the_network_itself_computes_on_beside_the_one_that_skips(decouple):
    network = decouple(build_backbone(Backbone.CIFAR_RESNET20, 10).eval())
    images = torch.randn(2, 3, 12, 12)
    with torch.inference_mode():
        before = network(images)
        skipped(network, Way.CHANNELS_MULTIPLIED)(images)
        after = network(images)
    assert torch.equal(before.class_logits, after.class_logits)


def test_a_network_that_trains_does_not_skip(decouple):
    network = decouple(build_backbone(Backbone.CIFAR_RESNET20, 10)).train()
    with pytest.raises(ValueError, match="evaluation mode"):
        skipped(network, Way.MASKED)


def test_a_plan_of_another_network_is_refused(decouple):
    network = decouple(build_backbone(Backbone.CIFAR_RESNET20, 10).eval())
    with pytest.raises(ValueError, match="18 layers"):
        SkippingNetwork.of(network, SkippingPlan.uniform(("conv",), Way.MASKED))


def test_a_plan_has_one_way_for_each_layer():
    with pytest.raises(ValueError, match="1 ways for 2 layers"):
        SkippingPlan(names=("a", "b"), ways=(Way.MASKED,))
