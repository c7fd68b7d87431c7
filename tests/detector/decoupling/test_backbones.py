import pytest
import torch

from detector.decoupling import Backbone, DecoupledNetwork, build_backbone
from detector.decoupling.backbones import resnet20

# Layers and gates: the table of the paper, and the same count for what it does not list.
COUNTS = {
    Backbone.CIFAR_RESNET20: (18, 672),
    Backbone.CIFAR_RESNET56: (54, 2016),
    Backbone.CIFAR_WIDE_RESNET8: (6, 1280),
    Backbone.CIFAR_VGG19_BN: (15, 5440),
    Backbone.CIFAR_GOOGLENET: (63, 7712),
    Backbone.RESNET18: (19, 4736),
    Backbone.RESNET34: (35, 8448),
    Backbone.RESNET50: (52, 26496),
    Backbone.VGG16: (12, 4160),
    Backbone.VGG16_BN: (12, 4160),
    Backbone.GOOGLENET: (56, 7216),
}


def decoupled(name, classes=10):
    return DecoupledNetwork(
        build_backbone(name, classes), input_independent_start=name.starts_input_independent
    )


def test_every_backbone_is_counted():
    assert set(COUNTS) == set(Backbone)


@pytest.mark.parametrize("name", Backbone)
def test_backbone_has_the_layers_and_gates_of_the_table(name):
    with torch.device("meta"):  # shapes alone: VGG-16 has 138 million weights
        network = decoupled(name)
    assert (network.layout.layers, network.layout.gates) == COUNTS[name]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        (Backbone.CIFAR_RESNET20, (32, 32)),
        (Backbone.CIFAR_RESNET20, (9, 14)),
        (Backbone.CIFAR_RESNET56, (11, 8)),
        (Backbone.CIFAR_WIDE_RESNET8, (10, 9)),
        (Backbone.CIFAR_VGG19_BN, (17, 22)),
        (Backbone.CIFAR_GOOGLENET, (7, 10)),
        (Backbone.RESNET18, (37, 52)),
    ],
)
def test_backbone_takes_images_of_any_height_and_width(name, size):
    network = decoupled(name, classes=7).eval()
    with torch.no_grad():
        output = network(torch.randn(2, 3, *size))
    assert output.class_logits.shape == (2, 7)
    assert output.path.bits.shape == (2, network.layout.gates)
    assert output.class_logits.isfinite().all()


@pytest.mark.parametrize("name", [Backbone.RESNET50, Backbone.VGG16, Backbone.GOOGLENET])
def test_large_backbone_runs_decoupled_without_memory_for_its_weights(name):
    with torch.device("meta"):
        output = decoupled(name, classes=3).eval()(torch.randn(2, 3, 224, 160))
    assert output.class_logits.shape == (2, 3)


def test_the_gates_of_the_paper_s_large_networks_and_vggs_start_alike_for_every_image():
    assert {name for name in Backbone if not name.starts_input_independent} == {
        Backbone.CIFAR_RESNET20,
        Backbone.CIFAR_RESNET56,
        Backbone.CIFAR_WIDE_RESNET8,
        Backbone.CIFAR_GOOGLENET,
    }


def test_resnet56_controllers_add_the_published_number_of_parameters():
    with torch.device("meta"):
        controllers = decoupled(Backbone.CIFAR_RESNET56).controllers
    assert sum(parameter.numel() for parameter in controllers.parameters()) == 49_292


def test_new_channels_of_an_option_a_shortcut_are_zero_and_old_ones_every_second_pixel():
    block = resnet20().layer2[0]
    features = torch.randn(1, 16, 5, 6)
    shortcut = block.shortcut(features)
    assert torch.equal(shortcut[:, 8:24], features[:, :, ::2, ::2])
    assert not shortcut[:, :8].any()
    assert not shortcut[:, 24:].any()
