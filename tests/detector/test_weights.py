import json

import pytest
import torch
from safetensors.torch import save_file

from detector.decoupling import Backbone, build_backbone, is_always_open
from detector.errors import DataError
from detector.preprocessing import CIFAR10_PREPROCESSING
from detector.weights import (
    NetworkInfo,
    build_network,
    load_gated,
    load_network,
    load_plain,
    save_weights,
)

INFO = NetworkInfo(
    backbone=Backbone.CIFAR_RESNET20,
    class_names=("cat", "dog", "owl"),
    preprocessing=CIFAR10_PREPROCESSING,
    provenance={"seed": 3, "data": {"images": 40}},
)


@pytest.fixture
def images():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_network(INFO).eval()


def test_a_decoupled_network_comes_back_as_it_was(tmp_path, network, images):
    path = tmp_path / "network.safetensors"
    save_weights(path, network, INFO)
    loaded, info = load_network(path)
    assert info == INFO
    assert not loaded.training
    assert torch.equal(loaded(images).class_logits, network(images).class_logits)


def test_a_network_in_another_memory_format_comes_back_as_it_was(tmp_path, network, images):
    path = tmp_path / "network.safetensors"
    reference = network(images).class_logits
    save_weights(path, network.to(memory_format=torch.channels_last), INFO)
    assert torch.equal(load_network(path)[0](images).class_logits, reference)


def test_a_plain_network_comes_back_as_it_was(tmp_path, images):
    path = tmp_path / "plain.safetensors"
    plain = build_backbone(INFO.backbone, 3).eval()
    save_weights(path, plain, INFO)
    loaded, info = load_plain(path)
    assert info == INFO
    assert not loaded.training
    assert torch.equal(loaded(images), plain(images))


def test_the_description_travels_through_json():
    assert NetworkInfo.from_json(json.loads(json.dumps(INFO.to_json()))) == INFO


def test_a_plain_network_is_no_decoupled_one_nor_the_other_way_round(tmp_path, network):
    path = tmp_path / "file.safetensors"
    save_weights(path, network.backbone, INFO)
    with pytest.raises(DataError, match="should hold the weights of a DecoupledNetwork"):
        load_network(path)
    save_weights(path, network, INFO)
    with pytest.raises(DataError, match="should hold the weights of a CifarResNet"):
        load_plain(path)


def test_a_plain_network_gets_gates_that_are_open_and_a_decoupled_one_keeps_its_own(
    tmp_path, network, images
):
    path = tmp_path / "file.safetensors"
    plain = build_backbone(INFO.backbone, 3).eval()
    save_weights(path, plain, INFO)
    opened, info = load_gated(path)
    assert info == INFO
    assert is_always_open(opened)
    assert not opened.training
    torch.testing.assert_close(opened(images).class_logits, plain(images))
    save_weights(path, opened, INFO)
    assert is_always_open(load_gated(path)[0])
    save_weights(path, network, INFO)
    decoupled, info = load_gated(path)
    assert info == INFO
    assert torch.equal(decoupled(images).path.logits, network(images).path.logits)


@pytest.mark.parametrize("load", [load_network, load_gated])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, network, share, load):
    path = tmp_path / "network.safetensors"
    save_weights(path, network, INFO)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"network\.safetensors should"):
        load(path)


@pytest.mark.parametrize("load", [load_network, load_gated])
def test_a_missing_file_is_refused(tmp_path, load):
    with pytest.raises(DataError, match="should be a network written by `offpath train`"):
        load(tmp_path / "missing.safetensors")


@pytest.mark.parametrize(
    "header",
    [
        None,
        {},
        {"offpath": "not json"},
        {"offpath": "{}"},
        {"offpath": "[]"},
        {"offpath": json.dumps(INFO.to_json() | {"backbone": "alexnet"})},
        {"offpath": json.dumps(INFO.to_json() | {"preprocessing": {"mean": [], "std": []}})},
        {"offpath": json.dumps(INFO.to_json() | {"preprocessing": None})},
        {"offpath": json.dumps(INFO.to_json() | {"class_names": 3})},
    ],
)
def test_a_file_whose_header_describes_no_network_is_refused(tmp_path, header):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata=header)
    for load in (load_plain, load_gated):
        with pytest.raises(DataError, match="should be a network written by `offpath train`"):
            load(path)
