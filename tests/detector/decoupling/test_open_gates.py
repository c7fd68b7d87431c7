"""A plain network wrapped with open gates computes to the last bit what it did."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from detector.decoupling import (
    Backbone,
    DecoupledNetwork,
    Frozen,
    Relaxed,
    StraightThrough,
    always_open,
    build_backbone,
    is_always_open,
)
from detector.errors import BackboneError

WAYS = [Frozen(), StraightThrough(), StraightThrough(bound=2000.0), Relaxed(0.1), Relaxed(10.0)]
ARCHITECTURES = [Backbone.CIFAR_RESNET20, Backbone.CIFAR_VGG19_BN, Backbone.CIFAR_GOOGLENET]


def gradients_of(network, images):
    """Gradients of a loss for the pixels and for the weights of the backbone."""
    pixels = images.clone().requires_grad_()
    found = network(pixels)
    logits = found.class_logits if isinstance(network, DecoupledNetwork) else found
    backbone = network.backbone if isinstance(network, DecoupledNetwork) else network
    loss = functional.cross_entropy(logits, torch.arange(len(images)) % logits.shape[1])
    return torch.autograd.grad(loss, [pixels, *backbone.parameters()])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_class_logits_are_those_of_the_backbone(name):
    backbone = build_backbone(name, 5).eval()
    images = torch.randn(2, 3, 32, 32)
    plain = backbone(images)
    # Not the very bits: the classifier's product is computed in blocks of rows.
    torch.testing.assert_close(always_open(backbone)(images).class_logits, plain)


def test_all_gates_are_open_for_every_image(backbone, images):
    path = always_open(backbone)(images).path
    assert path.layout.gates == 36
    assert bool(path.bits.all())


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_gradients_are_those_of_the_backbone_whatever_the_way_through_the_gates(
    way, backbone, images
):
    plain, logits = gradients_of(backbone, images), backbone(images)
    network = always_open(backbone)
    with network.gradients(way):
        assert torch.equal(network(images).class_logits, logits)
        found = gradients_of(network, images)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, plain, strict=True))


def test_pooled_activations_are_those_of_the_plain_network(backbone, images):
    seen = []
    handle = backbone.layer1[0].bn1.register_forward_hook(lambda *of: seen.append(of[2]))
    backbone(images)
    handle.remove()
    path = always_open(backbone)(images).path
    first = path.activations[:, path.layout.slices[0]]  # a ReLU follows this one
    assert torch.equal(first, seen[0].relu().mean(dim=(2, 3)))


def test_the_backbone_trains_as_it_would_by_itself(backbone, images):
    backbone.train()
    twin = copy.deepcopy(backbone)
    network = always_open(twin)
    assert network.training
    assert torch.equal(network(images).class_logits, backbone(images))


def test_parts_of_the_backbone_stay_in_their_mode(backbone):
    backbone.train()
    backbone.bn1.eval()
    always_open(backbone)
    assert backbone.layer1.training
    assert not backbone.bn1.training


def test_wide_numbers_stay_wide(backbone, images):
    backbone.double()
    network = always_open(backbone)
    assert torch.equal(network(images.double()).class_logits, backbone(images.double()))


def test_open_gates_are_recognised_also_in_a_copy(backbone, network):
    assert not is_always_open(network)
    assert not is_always_open(backbone)
    opened = always_open(copy.deepcopy(backbone))
    assert is_always_open(opened)
    assert is_always_open(copy.deepcopy(opened))
    opened.controllers[2].excite.weight.data[0, 0] = 1e-3
    assert not is_always_open(opened)


def test_a_backbone_that_cannot_be_gated_is_refused():
    with pytest.raises(BackboneError, match="at least two 2-d convolutions"):
        always_open(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()))
