"""Gates and multiplications are counted exactly, however late; each layer's way is told."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
import torch
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc
from prometheus_client import CollectorRegistry
from torch import Tensor, nn

from detector.decoupling import DecoupledNetwork, MacCount
from detector.decoupling.skipping import SkippingPlan, Way
from detector.pipeline import Findings, Pipeline
from service.metrics import Metrics
from service.server import DetectionServer
from service.skipping_metrics import count_of

PLAN = SkippingPlan(names=("conv1", "conv2"), ways=(Way.MASKED, Way.CHANNELS_MULTIPLIED))


@pytest.fixture
def count(pipeline: Any) -> MacCount:
    found = count_of(pipeline)
    assert found is not None
    return found


def findings(bits: Tensor) -> Findings:
    return cast("Findings", SimpleNamespace(path=SimpleNamespace(bits=bits)))


def counted(metrics: Metrics, name: str) -> dict[str, float]:
    """Each layer's value of a counter."""
    (family,) = (each for each in metrics.registry.collect() if each.name == name)
    return {
        sample.labels["layer"]: sample.value
        for sample in family.samples
        if sample.name.endswith("_total")
    }


def test_the_plan_of_the_network_that_is_served_takes_the_place_of_the_one_before() -> None:
    metrics = Metrics(CollectorRegistry())

    def ways() -> list[dict[str, str]]:
        return [
            sample.labels
            for family in metrics.registry.collect()
            if family.name == "offpath_skipping"
            for sample in family.samples
        ]

    metrics.skipping.served(PLAN, None)
    assert ways() == [
        {"layer": "conv1", "way": "masked"},
        {"layer": "conv2", "way": "open-channels-multiplied"},
    ]
    metrics.skipping.served(SkippingPlan.uniform(("conv2",), Way.MASKED), None)
    assert ways() == [{"layer": "conv2", "way": "masked"}]


@pytest.mark.parametrize("is_counted", [True, False])
def test_gates_of_callers_images_are_counted_and_those_of_padding_are_not(
    is_counted: bool, count: MacCount
) -> None:
    metrics = Metrics(CollectorRegistry())
    bits = torch.zeros(3, 12, dtype=torch.bool)
    bits[0, :3] = True
    bits[2] = True
    metrics.skipping.batch(count if is_counted else None, 2, findings(bits))
    value = metrics.registry.get_sample_value
    assert value("offpath_gates_total") == 24
    assert value("offpath_open_gates_total") == 3


def test_paths_of_two_networks_may_wait_side_by_side(count: MacCount) -> None:
    metrics = Metrics(CollectorRegistry())
    every = torch.ones(2, 12, dtype=torch.bool)
    for known, bits in ((count, every), (None, every), (None, every[:, :5]), (count, every)):
        metrics.skipping.batch(known, 2, findings(bits))
    assert metrics.registry.get_sample_value("offpath_open_gates_total") == 2 * (3 * 12 + 5)
    assert sum(counted(metrics, "offpath_plain_macs").values()) == 4 * count.plain


def test_what_waits_to_be_counted_stays_few(count: MacCount) -> None:
    metrics = Metrics(CollectorRegistry())
    made: list[int] = []
    kept = MacCount.kept
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            MacCount, "kept", lambda self, bits: made.append(len(bits)) or kept(self, bits)
        )
        for _ in range(10):
            metrics.skipping.batch(count, 30, findings(torch.ones(32, 12, dtype=torch.bool)))
    assert made == [150, 150]  # nobody asked for them


def test_a_layer_needs_what_open_channels_multiply_and_what_its_module_does(
    count: MacCount,
) -> None:
    metrics = Metrics(CollectorRegistry())
    bits = torch.zeros(3, 12, dtype=torch.bool)
    bits[0, [0, 2, 5]] = True  # two filters of the first layer and one of the second
    bits[2] = True  # padding
    metrics.skipping.batch(count, 2, findings(bits))
    modules = {layer.name: layer.module.total for layer in count.layers if layer.module is not None}
    pixels = 8 * 8
    stem, head = pixels * 3 * 2, 9 * 3
    assert counted(metrics, "offpath_needed_macs") == {
        "stem": 2 * stem,
        "first": pixels * 9 * 2 * 2 + 2 * modules["first"],
        "second": pixels * 9 * 2 * 1 + 2 * modules["second"],
        "head": 2 * head,
    }
    assert counted(metrics, "offpath_plain_macs") == {
        "stem": 2 * stem,
        "first": 2 * pixels * 9 * 2 * 3,
        "second": 2 * pixels * 9 * 3 * 9,
        "head": 2 * head,
    }


def test_over_all_layers_they_are_the_totals_that_offpath_cost_tells(count: MacCount) -> None:
    metrics = Metrics(CollectorRegistry())
    bits = torch.rand(7, 12, generator=torch.Generator().manual_seed(0)) > 0.5
    for rows in (bits[:4], bits[4:]):
        metrics.skipping.batch(count, len(rows), findings(rows))
    assert sum(counted(metrics, "offpath_needed_macs").values()) == int(count.total(bits).sum())
    assert sum(counted(metrics, "offpath_plain_macs").values()) == 7 * count.plain


def test_every_layer_of_the_network_that_is_served_begins_at_zero(count: MacCount) -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.skipping.served(PLAN, count)
    zeros = dict.fromkeys(("stem", "first", "second", "head"), 0.0)
    assert counted(metrics, "offpath_needed_macs") == zeros
    assert counted(metrics, "offpath_plain_macs") == zeros


def test_counts_do_not_go_back_when_another_network_is_served(count: MacCount) -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.skipping.batch(count, 1, findings(torch.ones(1, 12, dtype=torch.bool)))
    before = counted(metrics, "offpath_needed_macs")
    for other in (count, None):
        metrics.skipping.served(PLAN, other)
        assert counted(metrics, "offpath_needed_macs") == before


class Elsewhere(nn.Module):
    """Multiplies in a product of matrices, which no layer accounts for."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gated = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.gated(torch.relu(self.stem(images)))).mean(dim=(2, 3))
        return features @ features.t()


def test_a_network_that_cannot_be_counted_is_served_and_the_log_says_why(
    pipeline: Any, caplog: pytest.LogCaptureFixture
) -> None:
    other = SimpleNamespace(
        network=DecoupledNetwork(Elsewhere()), preprocessing=pipeline.preprocessing
    )
    with caplog.at_level(logging.INFO):
        assert count_of(cast("Pipeline", other)) is None
    assert "Multiplications are not counted: The backbone should multiply in" in caplog.text


async def test_a_server_counts_the_images_of_its_callers_once_whatever_copies_it_looks_at(
    server: DetectionServer, images: Any, count: MacCount
) -> None:
    metrics = server._metrics
    assert set(counted(metrics, "offpath_needed_macs").values()) == {0.0}
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        sent = [pb.Image(encoded=images.png(predicted, 200)) for predicted in (0, 1, 0)]
        for level in (pb.LEVEL_STANDARD, pb.LEVEL_THOROUGH):
            await stub.Detect(pb.DetectRequest(images=sent, level=level))
    plain = counted(metrics, "offpath_plain_macs")
    assert plain == {layer.name: 6 * layer.dense for layer in count.layers}
    # By the fake pipeline's paths: of black images it opens the last six gates.
    bits = (torch.linspace(-6, 5, 12) > 0).repeat(6, 1)
    assert sum(counted(metrics, "offpath_needed_macs").values()) == int(count.total(bits).sum())
