import copy
from itertools import product

import pytest
import torch
from hypothesis import Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torchvision import models

from detector.decoupling import Backbone, DecoupledNetwork, ForcedGates, build_backbone
from detector.decoupling.backbones import CifarResNet
from detector.decoupling.macs import MacCount
from detector.errors import BackboneError, InvalidInputError

HEIGHT, WIDTH = 7, 5


class Vgg(nn.Module):
    """Convolutions in a row; a pool, a stride, a dilation and groups among them."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 6, (3, 2), padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.c = nn.Conv2d(6, 4, 3, stride=2, padding=1, groups=2)
        self.d = nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=4)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(8, 3)

    def forward(self, images):
        features = torch.relu(self.norm(self.b(torch.relu(self.a(images)))))
        features = self.d(self.pool(torch.relu(self.c(features))))
        return self.fc(features.mean(dim=(2, 3)))


class Branches(nn.Module):
    """Two branches that are joined and read together, as in GoogLeNet."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.left, self.right = nn.Conv2d(4, 3, 1), nn.Conv2d(4, 5, 3, padding=1)
        self.both = nn.Conv2d(12, 4, 1, groups=2)  # so that it matters which branch comes first

    def forward(self, images):
        stem = torch.relu(self.stem(images))
        joined = [torch.relu(self.left(stem)), stem, torch.relu(self.right(stem))]
        return self.both(torch.cat(joined, dim=1)).mean(dim=(2, 3))


class Bottleneck(nn.Module):
    """A residual block of three convolutions with one in its shortcut, and one that reads it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.down, self.up = nn.Conv2d(4, 3, 1), nn.Conv2d(3, 8, 1)
        self.wide = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.shortcut = nn.Conv2d(4, 8, 1)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, images):
        stem = torch.relu(self.stem(images))
        inner = torch.relu(self.wide(torch.relu(self.down(stem))))
        out = self.norm(self.up(inner))
        out += self.shortcut(stem)
        return self.last(torch.relu(out)).mean(dim=(2, 3))


# Each with the convolutions that read a sum: they read all of it, by the rule.
NETWORKS = {
    "residual": (
        lambda: CifarResNet(1, num_classes=3, widths=(3, 4, 6)),
        {"layer2.0.conv1", "layer3.0.conv1"},
    ),
    "vgg": (Vgg, set()),
    "branches": (Branches, set()),
    "bottleneck": (Bottleneck, {"last"}),
}


def positive(backbone):
    """Let all that is computed be positive: what is zero then is closed, or padding."""
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.weight.data.uniform_(0.1, 1)
            if module.bias is not None:
                module.bias.data.uniform_(0.1, 1)
    return backbone.eval()


def convolve(convolution, features, is_open, *, reads_all):
    """One image's convolution of open output from open input channels, and its multiplications.

    Every product of a weight and a number is made here, and counted.
    """
    (top, left), (down, right) = convolution.padding, convolution.stride
    spread = convolution.dilation
    padded = functional.pad(features, (left, left, top, top))
    height, width = (
        (size - gap * (kernel - 1) - 1) // step + 1
        for size, kernel, step, gap in zip(
            padded.shape[1:], convolution.kernel_size, (down, right), spread, strict=True
        )
    )
    output = torch.zeros(convolution.out_channels, height, width)
    written, read = (
        size // convolution.groups for size in (convolution.out_channels, convolution.in_channels)
    )
    count = 0
    for o in is_open.nonzero().flatten().tolist():
        for i in range(read):
            channel = padded[o // written * read + i]
            if not reads_all and not channel.any():
                continue
            for y, x in product(*map(range, convolution.kernel_size)):
                rows = slice(y * spread[0], y * spread[0] + down * (height - 1) + 1, down)
                columns = slice(x * spread[1], x * spread[1] + right * (width - 1) + 1, right)
                products = convolution.weight[o, i, y, x] * channel[rows, columns]
                count += products.numel()
                output[o] += products
        if convolution.bias is not None:
            output[o] += convolution.bias[o]
    return output, count


def counted(network, sums, bits, images):
    """The multiplications of each convolution for each image, made one by one."""
    slices = dict(zip(network.layout.names, network.layout.slices, strict=True))
    counts = {}

    def again(name):
        def hook(module, inputs, output):
            everything = torch.ones(len(bits), module.out_channels, dtype=torch.bool)
            is_open = bits[:, slices[name]] if name in slices else everything
            made = [
                convolve(module, features, which, reads_all=name in sums)
                for features, which in zip(inputs[0], is_open, strict=True)
            ]
            computed = torch.stack([each for each, _ in made])
            torch.testing.assert_close(computed[is_open], output[is_open])
            counts[name] = [count for _, count in made]

        return hook

    handles = [
        # Before the gates, which may be hooks of the convolution itself.
        module.register_forward_hook(again(name), prepend=True)
        for name, module in network.backbone.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.inference_mode(), network.gradients(ForcedGates(torch.ones_like(bits), bits)):
        network(images)
    for handle in handles:
        handle.remove()
    return counts


@pytest.mark.parametrize("name", NETWORKS)
# Every product in turn takes a while: a failure had better be told than made smaller.
@examples(max_examples=8, deadline=None, phases=[Phase.generate])
@given(seed=st.integers(0, 2**32), share=st.floats(0, 1))
def test_the_count_is_that_of_a_convolution_that_multiplies_only_what_is_open(name, seed, share):
    make, sums = NETWORKS[name]
    torch.manual_seed(seed)
    network = DecoupledNetwork(positive(make())).eval()
    bits = torch.rand(2, network.layout.gates) < share
    images = torch.rand(2, 3, HEIGHT, WIDTH) + 0.1
    macs = MacCount.of(network, height=HEIGHT, width=WIDTH)
    kept = dict(zip((layer.name for layer in macs.layers), macs.kept(bits).T.tolist(), strict=True))
    counts = counted(network, sums, bits, images)
    assert {layer: kept[layer] for layer in counts} == counts
    linear = [layer.dense for layer in macs.layers if layer.flow is None]
    expected = [
        sum(each) + sum(linear) + macs.modules.total for each in zip(*counts.values(), strict=True)
    ]
    assert macs.total(bits).tolist() == expected


def test_skipping_may_save_more_than_the_rule_counts_behind_a_sum_of_closed_channels():
    network = DecoupledNetwork(positive(Bottleneck())).eval()
    bits = torch.zeros(2, network.layout.gates, dtype=torch.bool)
    bits[:, -4:] = True  # of the convolution that reads the sum
    macs = MacCount.of(network, height=HEIGHT, width=WIDTH)
    counts = counted(network, set(), bits, torch.rand(2, 3, HEIGHT, WIDTH) + 0.1)
    assert counts["last"] == [0, 0]
    assert macs.layers[-1].name == "last"
    assert macs.kept(bits)[:, -1].tolist() == [macs.layers[-1].dense] * 2


@pytest.mark.parametrize("name", Backbone)
def test_with_all_gates_open_nothing_is_spared_and_with_none_what_is_not_gated_is_left(name):
    size = 32 if name.startswith("cifar-") else 64
    with torch.device("meta"):
        network = DecoupledNetwork(build_backbone(name, 10))
    macs = MacCount.of(network, height=size, width=size)
    bits = torch.tensor([True, False]).unsqueeze(1).expand(2, network.layout.gates)
    everything, nothing = macs.kept(bits)
    assert everything.tolist() == [layer.dense for layer in macs.layers]
    ungated = [layer.dense * (layer.module is None) for layer in macs.layers]
    assert nothing.tolist() == ungated
    assert sum(layer.module is not None for layer in macs.layers) == network.layout.layers


@pytest.mark.parametrize("name", [each for each in Backbone if not each.startswith("cifar-")])
def test_the_plain_network_multiplies_as_often_as_torchvision_publishes(name):
    with torch.device("meta"):
        network = DecoupledNetwork(build_backbone(name, 1000))
    published = models.get_model_weights(name.replace("-", "_")).DEFAULT
    published = type(published)["IMAGENET1K_V1"].meta["_ops"]
    assert MacCount.of(network, height=224, width=224).plain / 1e9 == pytest.approx(
        published, abs=5e-4
    )


def test_the_modules_of_resnet56_multiply_as_often_as_their_weights_are_many():
    with torch.device("meta"):
        network = DecoupledNetwork(build_backbone(Backbone.CIFAR_RESNET56, 10))
    macs = MacCount.of(network, height=32, width=32)
    assert macs.modules.linear == 46_784
    read = 18 * 16 * 32 * 32 + 16 * 32 * 32 + 17 * 32 * 16 * 16 + 32 * 16 * 16 + 17 * 64 * 8 * 8
    assert macs.modules.pool == read
    assert macs.modules.total == 46_784 + read


def test_counting_leaves_a_network_as_it_was(network, images):
    network.train()
    network.backbone.bn1.eval()
    before = copy.deepcopy(network.state_dict())
    modes = [module.training for module in network.modules()]
    hooks = [len(module._forward_hooks) for module in network.modules()]
    MacCount.of(network, height=12, width=10)
    assert [module.training for module in network.modules()] == modes
    assert [len(module._forward_hooks) for module in network.modules()] == hooks
    assert all(torch.equal(each, before[name]) for name, each in network.state_dict().items())
    assert network.eval()(images).class_logits.isfinite().all()


class Elsewhere(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.weight = nn.Parameter(torch.ones(4, 2))

    def forward(self, images):
        return self.second(self.first(images)).mean(dim=(2, 3)) @ self.weight


def test_a_network_that_multiplies_where_nothing_is_counted_is_refused():
    network = DecoupledNetwork(Elsewhere())
    with pytest.raises(BackboneError, match="Found 8 multiplications elsewhere"):
        MacCount.of(network, height=4, width=4)


def test_images_that_a_network_cannot_read_are_refused():
    with torch.device("meta"):
        network = DecoupledNetwork(build_backbone(Backbone.VGG16, 10))
    with pytest.raises(InvalidInputError, match="images of 8 x 9 pixels"):
        MacCount.of(network, height=8, width=9)


def test_of_no_images_nothing_is_counted(network):
    macs = MacCount.of(network, height=12, width=10)
    bits = torch.ones(0, 36, dtype=torch.bool)
    assert macs.kept(bits).shape == (0, len(macs.layers))
    assert macs.total(bits).dtype == torch.int64


@pytest.mark.parametrize(
    "bits", [torch.ones(2, 36), torch.ones(36).bool(), torch.ones(2, 35).bool()]
)
def test_bits_of_another_type_or_shape_are_refused(network, bits):
    macs = MacCount.of(network, height=12, width=10)
    with pytest.raises(ValueError, match=r"bits should be bool of shape \(B, 36\)"):
        macs.kept(bits)
