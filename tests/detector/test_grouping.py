"""Groups of images are counted by the gates that a layer's work hangs on."""

from __future__ import annotations

import torch

from detector.decoupling import DecoupledNetwork, MacCount
from detector.decoupling.backbones import CifarResNet
from tests.figures.grouping import group_sizes, layer_gates


def test_images_are_of_one_group_where_all_their_gates_agree() -> None:
    bits = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 0, 1], [1, 1, 1], [1, 0, 1]], dtype=torch.bool)
    assert group_sizes(bits) == [3, 1, 1]
    assert group_sizes(bits[:, 2:]) == [5]


def test_what_a_layer_reads_counts_where_gates_close_it() -> None:
    network = DecoupledNetwork(CifarResNet(1, num_classes=3, widths=(3, 4, 6))).eval()
    macs = MacCount.of(network, height=8, width=8)
    layers = {layer.name: layer for layer in macs.layers}
    slices = dict(zip(network.layout.names, network.layout.slices, strict=True))

    def gates(name: str, *, reads: bool) -> set[int]:
        return set(layer_gates(layers[name], macs, reads=reads).tolist())

    def own(name: str) -> set[int]:
        return set(range(network.layout.gates)[slices[name]])

    # The first convolution of a block reads a sum, of which no gate closes a channel.
    for reads in (False, True):
        assert gates("layer2.0.conv1", reads=reads) == own("layer2.0.conv1")
    assert gates("layer2.0.conv2", reads=False) == own("layer2.0.conv2")
    assert gates("layer2.0.conv2", reads=True) == own("layer2.0.conv1") | own("layer2.0.conv2")
    assert gates("fc", reads=True) == set()
