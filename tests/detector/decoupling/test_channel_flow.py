import pytest
import torch
from torch import nn
from torch.nn import functional

from detector.decoupling import Backbone, DecoupledNetwork, ForcedGates, build_backbone
from detector.decoupling.channel_flow import NO_GATE, ChannelRun, channel_flow

SIZES = {
    Backbone.CIFAR_RESNET20: 8,
    Backbone.CIFAR_RESNET56: 8,
    Backbone.CIFAR_VGG19_BN: 16,
    Backbone.CIFAR_GOOGLENET: 8,
    Backbone.RESNET18: 32,
    Backbone.RESNET50: 32,
    Backbone.GOOGLENET: 32,
}


def flows(network):
    return {flow.convolution: flow for flow in channel_flow(network.backbone, network.sites)}


def run(channels, site):
    return ChannelRun(channels=channels, site=site)


def on_meta(name):
    with torch.device("meta"):
        return DecoupledNetwork(build_backbone(name, 10))


def test_in_a_residual_network_only_the_inside_of_a_block_reads_gated_channels(network):
    found = flows(network)
    assert list(found) == [
        "conv1",
        *(f"layer{stage}.0.conv{index}" for stage in (1, 2, 3) for index in (1, 2)),
    ]
    assert (found["conv1"].site, found["conv1"].reads) == (None, (run(3, None),))
    assert found["layer1.0.conv1"].reads == (run(4, None),)
    assert found["layer2.0.conv1"].reads == (run(4, None),)
    assert found["layer2.0.conv2"].reads == (run(6, 2),)
    assert [flow.site for flow in found.values()] == [None, 0, 1, 2, 3, 4, 5]
    assert [flow.reads_gated for flow in found.values()] == [False, False, *[True, False] * 2, True]


def test_gates_are_named_by_their_place_in_the_path(network):
    second = flows(network)["layer2.0.conv2"]
    assert second.input_gates(network.layout).tolist() == [8, 9, 10, 11, 12, 13]
    assert second.output_gates(network.layout).tolist() == [14, 15, 16, 17, 18, 19]
    first = flows(network)["conv1"]
    assert first.input_gates(network.layout).tolist() == [NO_GATE] * 3
    assert first.output_gates(network.layout).tolist() == [NO_GATE] * 4


def test_in_a_vgg_each_convolution_reads_what_the_one_before_left_open():
    found = list(flows(on_meta(Backbone.VGG16)).values())
    assert found[1].reads == (run(64, None),)
    assert [flow.reads[0].site for flow in found[2:]] == list(range(len(found) - 2))


def test_a_bottleneck_reads_gated_channels_twice_and_its_shortcut_none():
    found = flows(on_meta(Backbone.RESNET50))
    reads = {name: found[f"layer2.0.{name}"].reads_gated for name in ("conv1", "conv2", "conv3")}
    assert reads == {"conv1": False, "conv2": True, "conv3": True}
    assert not found["layer2.0.downsample.0"].reads_gated
    assert found["layer2.0.downsample.0"].site is not None


def test_behind_joined_branches_each_channel_has_the_gate_of_its_branch():
    network = on_meta(Backbone.CIFAR_GOOGLENET)
    found = flows(network)
    names = [
        f"blocks.0.{name}.0" for name in ("branch1", "branch3.1", "branch5.2", "branch_pool.1")
    ]
    reads = found["blocks.1.branch1.0"].reads
    assert [network.layout.names[each.site] for each in reads] == names
    assert [each.channels for each in reads] == [64, 128, 32, 32]
    assert found["blocks.1.branch_pool.1.0"].reads == reads  # through a pool
    assert found["blocks.0.branch1.0"].reads == (run(192, None),)  # the stem


class Between(nn.Module):
    """Two gated convolutions, with whatever a test is about between them."""

    def __init__(self, between, channels=4):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.second = nn.Conv2d(4, 4, 1)
        self.third = nn.Conv2d(channels, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.sigmoid = nn.Sigmoid()
        self.pool = nn.MaxPool2d(2, padding=1)
        self.between = between

    def forward(self, images):
        stem = self.first(images)
        return self.third(self.between(self, stem, self.second(stem))).mean(dim=(2, 3))


GATED, OPEN = run(4, 0), run(4, None)


@pytest.mark.parametrize(
    ("between", "reads"),
    [
        (lambda net, _, x: net.pool(torch.relu(x)), (GATED,)),
        (lambda _net, _, x: functional.dropout(functional.avg_pool2d(x.relu(), 2)), (GATED,)),
        (lambda net, _, x: net.pool(net.norm(x)), (GATED,)),  # gated behind the norm
        (lambda net, _, x: net.norm(x) + x, (OPEN,)),  # gated before it, and added
        (lambda net, _, x: net.norm(net.pool(x)), (OPEN,)),
        (lambda _net, stem, x: x + stem, (OPEN,)),
        (lambda _net, _, x: x + 1, (OPEN,)),
        (lambda net, _, x: net.sigmoid(x), (OPEN,)),
        (lambda _net, _, x: x.flip(1), (OPEN,)),
        (lambda _net, stem, x: torch.cat([x, stem], 1), (GATED, OPEN)),
        (lambda _net, stem, x: torch.cat([stem, x, x], dim=1), (OPEN, GATED, GATED)),
        (lambda _net, stem, x: torch.cat([x, stem.flip(1)], 1), (run(8, None),)),
        (lambda _net, stem, x: torch.cat([x, stem], 2), (OPEN,)),
    ],
)
def test_channels_stay_closed_as_long_as_zeros_stay_zeros(between, reads):
    network = DecoupledNetwork(Between(between, sum(each.channels for each in reads)))
    assert flows(network)["third"].reads == reads


@pytest.mark.parametrize("name", SIZES)
def test_a_channel_whose_gate_is_closed_is_zero_where_it_is_read(name):
    network = DecoupledNetwork(build_backbone(name, 10)).eval()
    found = flows(network)
    bits = torch.rand(2, network.layout.gates) < 0.5
    everywhere = torch.ones_like(bits)
    checked = []

    def look(convolution, inputs):
        gates = found[names[convolution]].input_gates(network.layout)
        closed = ~bits[:, gates] & (gates != NO_GATE)
        assert not inputs[0].abs().amax(dim=(2, 3))[closed].any()
        checked.append(int(closed.sum()))

    names = {module: name for name, module in network.backbone.named_modules()}
    handles = [
        module.register_forward_pre_hook(look) for module in names if isinstance(module, nn.Conv2d)
    ]
    with torch.inference_mode(), network.gradients(ForcedGates(everywhere, bits)):
        network(torch.randn(2, 3, SIZES[name], SIZES[name]))
    for handle in handles:
        handle.remove()
    assert len(checked) == len(found)
    assert sum(checked) > 0
