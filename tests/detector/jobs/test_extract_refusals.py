"""Extraction refuses to mix what does not belong together, and touches nothing then."""

from __future__ import annotations

import dataclasses

import pytest
import torch

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
