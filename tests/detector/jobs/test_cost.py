"""The cost job counts what the network would multiply, image by image, on the images it names."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from detector.data import Splits
from detector.decoupling import DecoupledNetwork, MacCount, always_open
from detector.decoupling.backbones import CifarResNet
from detector.errors import DataError, InvalidInputError
from detector.fingerprints import network_digest
from detector.jobs.cost import CostOptions, measure_cost
from detector.jobs.cost_report import CostReport, Spread
from detector.jobs.image_order import ImageOrder
from detector.path_table import SplitName


@pytest.fixture
def network(tiny_network: DecoupledNetwork) -> DecoupledNetwork:
    """With gates of both states that depend on the image."""
    torch.manual_seed(1)
    for controller in tiny_network.controllers:
        nn.init.normal_(controller.excite.weight)
        nn.init.zeros_(controller.excite.bias)
    return tiny_network


def cost(network: DecoupledNetwork, splits: Splits, **options: object) -> CostReport:
    return measure_cost(network, splits, dataclasses.replace(CostOptions(quiet=True), **options))


def counted(
    network: DecoupledNetwork, splits: Splits, limit: int | None
) -> tuple[MacCount, object]:
    """The count of the network, and what each of the images keeps of each layer."""
    order = ImageOrder.of(splits, SplitName.TEST, limit)
    images = order.images.read(order.order[: order.asked].tolist(), splits.preprocessing)
    with torch.inference_mode():
        bits = network(splits.preprocessing(images)).path.bits
    macs = MacCount.of(network, height=8, width=8)
    return macs, macs.kept(bits).numpy()


@pytest.mark.parametrize("limit", [None, 1, 7, 1000])
def test_shares_are_those_of_the_paths_that_the_images_take(
    network: DecoupledNetwork, tiny_splits: Splits, limit: int | None
) -> None:
    found = cost(network, tiny_splits, limit=limit, batch_size=4)
    macs, kept = counted(network, tiny_splits, limit)
    assert found.images == len(kept) == min(limit or 50, 50)
    assert (found.split, found.height, found.width) == ("test", 8, 8)
    assert found.network == network_digest(network)
    totals = (kept.sum(axis=1) + macs.modules.total) / macs.plain
    assert dataclasses.astuple(found.total) == pytest.approx(
        (totals.mean(), *np.quantile(totals, [0.05, 0.95])), rel=1e-12
    )
    dense = [layer.dense for layer in macs.layers]
    assert [layer.plain for layer in found.layers] == dense
    assert [layer.kept for layer in found.layers] == pytest.approx(
        (kept.mean(axis=0) / dense).tolist(), rel=1e-12
    )


def test_each_layer_says_what_closes_it_and_what_its_module_costs(
    network: DecoupledNetwork, tiny_splits: Splits
) -> None:
    found = cost(network, tiny_splits, limit=1)
    layers = {layer.layer: layer for layer in found.layers}
    stem, inner, last = layers["conv1"], layers["layer3.0.conv2"], layers["fc"]
    assert (stem.gates, stem.reads_gated, stem.module, stem.kept) == (0, False, None, 1)
    assert (last.gates, last.reads_gated, last.module, last.kept) == (0, False, None, 1)
    assert (inner.gates, inner.reads_gated) == (8, True)
    assert inner.module is not None
    assert (inner.module.pool, inner.module.linear) == (8 * 2 * 2, 8 * 2 + 2 * 8)
    modules = [layer.module.total for layer in found.layers if layer.module is not None]
    assert sum(modules) == found.modules.total


def test_what_is_kept_and_what_modules_cost_make_up_the_total(
    network: DecoupledNetwork, tiny_splits: Splits
) -> None:
    found = cost(network, tiny_splits)
    kept = sum(layer.kept * layer.plain for layer in found.layers)
    assert found.kept.mean == pytest.approx(kept / found.plain)
    assert found.kept.mean + found.module_share == pytest.approx(found.total.mean)
    assert found.kept.low < found.kept.mean < found.kept.high < 1


def test_no_more_images_are_in_memory_than_one_batch(
    network: DecoupledNetwork, tiny_splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    source = type(tiny_splits.test.source)
    read = source.read
    monkeypatch.setattr(
        source, "read", lambda self, ids, side: asked.append(len(ids)) or read(self, ids, side)
    )
    cost(network, tiny_splits, batch_size=20)
    assert asked == [20, 20, 10]


def test_a_report_is_read_as_it_was_written(
    network: DecoupledNetwork, tiny_splits: Splits, tmp_path: Path
) -> None:
    found = cost(network, tiny_splits, limit=5, split=SplitName.FIT)
    found.write(tmp_path / "cost.json")
    assert CostReport.read(tmp_path / "cost.json") == found
    assert found.split == "fit"


def test_a_report_of_another_version_is_refused(
    network: DecoupledNetwork, tiny_splits: Splits
) -> None:
    fields = cost(network, tiny_splits, limit=1).to_json()
    with pytest.raises(DataError, match=r"A cost report should have schema version 1\. Found 2"):
        CostReport.from_json({**fields, "schema_version": 2})


def test_a_plain_network_is_refused_as_it_has_no_gates(tiny_splits: Splits) -> None:
    with pytest.raises(InvalidInputError, match="Found a plain one, which has no gates"):
        cost(always_open(CifarResNet(1, 4, widths=(4, 4, 4))).eval(), tiny_splits)


@pytest.mark.parametrize("field", ["limit", "batch_size"])
def test_options_that_leave_no_image_are_refused(field: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{field} should be at least 1. Found 0"):
        dataclasses.replace(CostOptions(), **{field: 0})


@pytest.mark.parametrize("values", [(0.5, 0.7, 0.6), (float("nan"), 0.1, 0.2)])
def test_a_spread_that_cannot_be_is_refused(values: tuple[float, ...]) -> None:
    mean, low, high = values
    with pytest.raises(InvalidInputError, match="A spread should be finite"):
        Spread(mean=mean, low=low, high=high)
