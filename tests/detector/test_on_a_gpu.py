"""What a GPU has to find: what a CPU does, whatever the batch, and whatever is skipped."""

from __future__ import annotations

import pytest
import torch

from detector.bundle import Bundle, load_bundle
from detector.decoupling import Backbone, DecoupledNetwork, build_backbone
from detector.decoupling.skipping import SkippingNetwork, SkippingPlan, Way, choose_plan
from detector.devices import exact_32_bit
from detector.paths import PathVectors
from detector.pipeline import row_digests

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SIDE = 32
LARGEST = 32
# Gate logits go up to some tens, and kernels of a GPU add in another order than those of a CPU.
UNDECIDED = 1e-3


@pytest.fixture(scope="module")
def on_gpu() -> Bundle:
    """The bundled default; loading it compares its golden images with what the GPU finds."""
    return load_bundle(device="cuda")


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    draws = torch.Generator().manual_seed(0)
    return torch.randint(256, (32, 3, SIDE, SIDE), generator=draws).to(torch.uint8)


def half_open(backbone: Backbone) -> DecoupledNetwork:
    """A network with random weights, where about half of the gates are open."""
    torch.manual_seed(0)
    network = DecoupledNetwork(build_backbone(backbone, 10)).eval()
    for controller in network.controllers:
        torch.nn.init.normal_(controller.excite.bias)
    return network.cuda()


def alike(found: PathVectors, expected: PathVectors) -> torch.Tensor:
    """Images of which no gate within rounding of zero fell on the other side, bool of shape (B,).

    After such a gate all that follows may differ; without one, nothing may.
    """
    same = found.bits == expected.bits
    rows = (same | (expected.logits.abs() > UNDECIDED)).all(dim=1)
    assert rows.sum() >= len(rows) / 2
    assert same[rows].all()
    return rows


@pytest.mark.parametrize("level", ["fast", "standard", "thorough"])
def test_the_bundled_default_says_on_a_gpu_what_it_says_on_a_cpu(on_gpu, noise, level):
    expected = load_bundle().pipeline.analyse(noise, level)
    found = on_gpu.pipeline.analyse(noise, level)
    rows = alike(found.path, expected.path)
    assert torch.equal(found.predicted[rows], expected.predicted[rows])
    torch.testing.assert_close(found.scores[rows], expected.scores[rows], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("level", ["fast", "standard", "thorough"])
def test_an_image_gets_the_same_numbers_at_every_place_of_the_largest_batch(on_gpu, level):
    assert len(row_digests(on_gpu.pipeline, level, LARGEST)) == 1


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize(
    "backbone", [Backbone.CIFAR_RESNET20, Backbone.CIFAR_WIDE_RESNET8, Backbone.RESNET18]
)
def test_skipping_on_a_gpu_gives_the_bits_of_the_masked_network(backbone, way):
    network = half_open(backbone)
    images = torch.randn(4, 3, SIDE, SIDE, device="cuda")
    plan = SkippingPlan.uniform(network.layout.names, way)
    with exact_32_bit(images.device), torch.inference_mode():
        expected, found = network(images), SkippingNetwork.of(network, plan)(images)
    rows = alike(found.path, expected.path)
    largest = expected.class_logits.abs().max().clamp(min=1)
    assert (found.class_logits - expected.class_logits)[rows].abs().max() <= 1e-4 * largest


def test_what_is_measured_on_a_gpu_says_whether_skipping_pays_there():
    network = half_open(Backbone.CIFAR_RESNET20)
    images = torch.randn(4, 3, SIDE, SIDE, device="cuda")
    choice, skipping = choose_plan(network, images, 32)
    assert skipping.plan == choice.plan
    faster, no_slower = choice.alone.ratio < 1, choice.together.ratio <= 1.03
    assert not choice.pays or (faster and no_slower)
