"""Extraction refuses to mix what does not belong together, and touches nothing then."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from detector.data import TestImages
from detector.decoupling import DecoupledNetwork
from detector.decoupling.backbones import CifarResNet
from detector.errors import DataError, InvalidInputError
from detector.jobs.extract import extract


@pytest.mark.parametrize(
    ("changes", "fact"),
    [({"seed": 1}, "seed"), ({"batch_size": 10}, "batch_size"), ({"shard_size": 10}, "shard size")],
)
def test_shards_of_other_options_are_refused(
    changes, fact, tiny_network, tiny_splits, tmp_path, options, contents
) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path))
    before = contents(tmp_path)
    with pytest.raises(DataError, match=rf"same {fact}|with {fact}"):
        extract(tiny_network, tiny_splits, options(tmp_path, **changes))
    assert contents(tmp_path) == before


def test_a_table_of_another_network_is_refused(
    tiny_network, tiny_splits, tmp_path, options, contents
) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path))
    before = contents(tmp_path)
    with torch.no_grad():
        tiny_network.backbone.fc.bias[0] += 1e-3
    with pytest.raises(DataError, match=r"same network.*Give another output folder"):
        extract(tiny_network, tiny_splits, options(tmp_path))
    assert contents(tmp_path) == before


def test_a_table_of_another_preprocessing_is_refused(
    tiny_network, tiny_splits, tmp_path, options
) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path))
    other = dataclasses.replace(tiny_splits.preprocessing, mean=(0.4, 0.4, 0.4))
    with pytest.raises(DataError, match="same preprocessing"):
        extract(
            tiny_network,
            dataclasses.replace(tiny_splits, preprocessing=other),
            options(tmp_path),
        )


def test_a_shard_that_came_from_elsewhere_is_refused(
    tiny_network, tiny_splits, tmp_path, options
) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path))
    first, second = sorted(tmp_path.glob("test--clean--*.parquet"))[:2]
    second.write_bytes(first.read_bytes())
    with pytest.raises(DataError, match="should have been made with images"):
        extract(tiny_network, tiny_splits, options(tmp_path))


def test_a_data_set_of_other_classes_is_refused(tiny_splits, tmp_path, options) -> None:
    network = DecoupledNetwork(CifarResNet(1, 7, widths=(8, 8, 8)))
    with pytest.raises(DataError, match="should have 7 classes"):
        extract(network, tiny_splits, options(tmp_path))


@pytest.mark.parametrize(
    "changes", [{"limit": 0}, {"batch_size": 0}, {"shard_size": -1}, {"splits": ()}]
)
def test_options_out_of_range_are_refused(changes, tmp_path, options) -> None:
    with pytest.raises(InvalidInputError, match="should be"):
        options(tmp_path, **changes)


@pytest.mark.parametrize("device", ["cuda:97", "gpu", "meta"])
def test_a_device_that_is_not_there_is_refused(device, tmp_path, options) -> None:
    with pytest.raises(InvalidInputError, match=f"Found '{device}'") as caught:
        options(tmp_path, device=device)
    assert caught.value.field == "device"


def test_a_short_shard_of_something_else_is_refused_also_when_a_table_grows(
    tiny_network, tiny_splits, tmp_path, options, contents
) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path, limit=30))
    shard = tmp_path / "test--clean--00001.parquet"
    shard.write_bytes((tmp_path / "test--pgd-8-255-steps-2--00001.parquet").read_bytes())
    before = contents(tmp_path)
    with pytest.raises(DataError, match="should have been made with attack"):
        extract(tiny_network, tiny_splits, options(tmp_path, limit=44))
    assert contents(tmp_path) == before


def test_a_table_of_more_images_than_there_are_is_refused(
    tiny_network, tiny_splits, tmp_path, options
) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path))
    fewer = dataclasses.replace(tiny_splits, test=TestImages(tiny_splits.test.source, np.arange(9)))
    with pytest.raises(DataError, match=r"has 9 test images\. Found a table of 50"):
        extract(tiny_network, fewer, options(tmp_path))
