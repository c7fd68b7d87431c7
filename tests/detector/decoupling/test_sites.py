import pytest
import torch
from torch import nn
from torch.nn import functional

from detector.decoupling import find_gate_sites
from detector.decoupling.backbones import CifarResNet
from detector.errors import BackboneError


class Followed(nn.Module):
    """Two convolutions, the second followed by whatever a test is about."""

    def __init__(self, follow):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.follow = follow

    def forward(self, images):
        return self.follow(self, self.second(self.first(images))).mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("follow", "output", "rectified"),
    [
        (lambda net, x: net.relu(net.norm(x)), "norm", True),
        (lambda net, x: functional.relu(net.norm(x)), "norm", True),
        (lambda net, x: functional.relu(net.norm(x), inplace=True), "norm", True),
        (lambda net, x: torch.relu(net.norm(x)), "norm", True),
        (lambda net, x: net.norm(x).relu(), "norm", True),
        (lambda net, x: net.relu(x), "second", True),
        (lambda net, x: net.norm(x), "norm", False),
        (lambda net, x: net.norm(x) + 1, "norm", False),
        (lambda net, x: net.norm(x) + net.relu(x), "second", False),
        (lambda _, x: x, "second", False),
    ],
)
def test_the_gated_output_is_that_of_the_batch_norm_and_relu_that_alone_follow(
    follow, output, rectified
):
    (site,) = find_gate_sites(Followed(follow))
    assert (site.convolution, site.output, site.rectified) == ("second", output, rectified)


def test_every_convolution_but_the_first_is_a_site_in_the_order_of_computation():
    sites = find_gate_sites(CifarResNet(1, widths=(4, 4, 8)))
    assert [site.convolution for site in sites] == [
        f"layer{stage}.0.conv{index}" for stage in (1, 2, 3) for index in (1, 2)
    ]
    assert [site.rectified for site in sites] == [True, False] * 3


def test_tracing_leaves_the_backbone_without_a_change():
    backbone = CifarResNet(1, widths=(4, 4, 8)).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    find_gate_sites(backbone)
    assert backbone.training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


class Branching(nn.Module):
    def forward(self, images):
        return images if images.sum() > 0 else -images


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.same = nn.Conv2d(3, 3, 1)

    def forward(self, images):
        return self.same(self.same(images))


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (Branching(), "traceable by torch.fx"),
        (Twice(), "each called once. Found 2 calls of 1 convolutions"),
        (nn.Conv2d(3, 3, 1), "at least two 2-d convolutions"),
        (nn.Sequential(nn.Conv2d(3, 3, 1)), "Found 1 calls of 1"),
        (nn.Sequential(nn.Flatten()), "Found 0 calls"),
    ],
)
def test_a_backbone_that_cannot_be_gated_is_refused_with_the_reason(backbone, message):
    with pytest.raises(BackboneError, match=message):
        find_gate_sites(backbone)
