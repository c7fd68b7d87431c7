import math

import pytest
import torch
from torch import nn

from detector.decoupling import DecoupledNetwork, DecouplingLoss, LossWeights, OutputToGates
from detector.decoupling.backbones import CifarResNet
from detector.jobs.gate_statistics import gate_statistics

WEIGHTS = LossWeights(alignment=1.0, information=1.0, sparsity=0.0, open_share=0.0)


@pytest.fixture
def network():
    torch.manual_seed(0)
    found = DecoupledNetwork(CifarResNet(1, num_classes=3, widths=(4, 6, 8)))
    for controller in found.controllers:
        nn.init.normal_(controller.excite.weight)
        nn.init.zeros_(controller.excite.bias)
    return found.train()


@pytest.fixture
def loss(network):
    return DecouplingLoss(network.layout, 3, weights=WEIGHTS, alignment=OutputToGates())


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(10, 3, 8, 8, generator=generator)
    labels = torch.arange(10) % 3
    return [(images[:4], labels[:4]), (images[4:], labels[4:])]


def test_statistics_are_those_of_all_images_together(network, loss, batches):
    found = gate_statistics(network, loss, batches)
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    with torch.no_grad():
        output = network.eval()(images)
    assert found.accuracy == pytest.approx(
        (output.class_logits.argmax(dim=1) == labels).float().mean().item()
    )
    assert [layer.name for layer in found.layers] == list(network.layout.names)
    for layer, (_, part), record, head in zip(
        found.layers, output.path.by_layer(), output.records, loss.heads, strict=True
    ):
        bits = part.bits.double()
        assert layer.open_share == pytest.approx(bits.mean().item())
        distance = (bits - bits.mean(dim=0)).abs().mean()  # from the mean over images
        assert layer.diversity == pytest.approx(distance.item())
        entropy = nn.functional.cross_entropy(head(record.values), labels).item()
        assert layer.information == pytest.approx(max(0, math.log(3) - entropy), abs=1e-5)


def test_the_network_s_mode_is_left_as_it_was(network, loss, batches):
    gate_statistics(network, loss, batches)
    assert all(module.training for module in network.modules())
    network.eval()
    gate_statistics(network, loss, batches)
    assert not any(module.training for module in network.modules())


def test_the_network_s_mode_is_left_as_it_was_also_after_an_exception(network, loss):
    with pytest.raises(RuntimeError):
        gate_statistics(network, loss, [(torch.zeros(1, 2, 8, 8), torch.zeros(1).long())])
    assert network.training


def test_gates_that_are_alike_for_all_images_have_no_diversity_and_tell_nothing(
    network, loss, batches
):
    for controller in network.controllers:
        nn.init.zeros_(controller.excite.weight)
        nn.init.ones_(controller.excite.bias)
    for layer in gate_statistics(network, loss, batches).layers:
        assert (layer.open_share, layer.diversity) == (1, 0)
        assert layer.information < 0.02  # ten images are not quite a third each
