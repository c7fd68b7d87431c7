"""What the server exposes: by the rules of Prometheus, bounded, and as the README says."""

from __future__ import annotations

import asyncio
import math
import re
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from detector.pipeline import Findings
from detector.pipeline.stopwatch import Spent
from service.metrics import Metrics
from service.server import DetectionServer

README = Path(__file__).parents[3] / "README.md"
LABELS = {"code", "kind", "layer", "level", "le", "method", "outcome", "reason", "verdict", "what"}
BUNDLE_LABELS = {"backbone", "created", "digest", "schema_version"}


@pytest.fixture
async def exposed(server: DetectionServer, images: Any, pipeline: Any) -> str:
    """The exposition of a server that has answered, refused and failed."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        sent = [pb.Image(encoded=images.png(predicted, 200)) for predicted in (0, 2, 0)]
        await stub.Detect(pb.DetectRequest(images=sent, alpha=0.02))
        await stub.Detect(pb.DetectRequest(images=sent[:1]))
        for request in (
            pb.DetectRequest(),
            pb.DetectRequest(images=[pb.Image(encoded=images.png(images.failing_pixel))]),
        ):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Detect(request)
    return await asyncio.to_thread(read, server.metrics_url)


def read(url: str) -> str:
    with urllib.request.urlopen(url) as reply:
        return str(reply.read().decode())


def test_the_linter_of_prometheus_finds_nothing(exposed: str, programs: dict[str, Path]) -> None:
    done = subprocess.run(
        [str(programs["promtool"]), "check", "metrics"],
        input=exposed,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_linter_would_find_a_bad_name(programs: dict[str, Path]) -> None:
    done = subprocess.run(
        [str(programs["promtool"]), "check", "metrics"],
        input="# HELP calls Calls.\n# TYPE calls counter\ncalls 1\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert "_total" in done.stdout + done.stderr


def test_no_label_carries_a_caller_a_class_or_a_request(exposed: str) -> None:
    labels = {
        family.name: set().union(*(sample.labels for sample in family.samples))
        for family in text_string_to_metric_families(exposed)
        if family.name.startswith("offpath_")
    }
    assert labels.pop("offpath_bundle_info") == BUNDLE_LABELS
    assert set().union(*labels.values()) <= LABELS


def test_the_readme_has_every_metric_and_no_other(exposed: str) -> None:
    section = README.read_text().split("## What it measures")[1].split("\n## ")[0]
    told = set(re.findall(r"`(offpath_[a-z_]+)", section))
    assert told == {name for name in names_of(exposed) if name.startswith("offpath_")}


def names_of(exposition: str) -> set[str]:
    return {
        line.split()[2]
        for line in exposition.splitlines()
        if line.startswith("# TYPE ") and not line.split()[2].endswith("_created")
    }


async def test_series_that_alarms_watch_start_at_zero(server: DetectionServer) -> None:
    lines = (await asyncio.to_thread(read, server.metrics_url)).splitlines()
    for line in (
        'offpath_verdicts_total{verdict="off_path"} 0.0',
        'offpath_rejections_total{reason="QUEUE_FULL"} 0.0',
        'offpath_rejections_total{reason="INTERNAL"} 0.0',
        'offpath_dropped_images_total{reason="expired"} 0.0',
        'offpath_abstentions_total{reason="output_not_finite"} 0.0',
        'offpath_abstentions_total{reason="rounding_decides"} 0.0',
        "offpath_allowed_alarms_total 0.0",
        "offpath_alarm_budget_ratio 0.05",
        "offpath_drift_alarm 0.0",
        "offpath_drift_images_total 0.0",
    ):
        assert line in lines
    (started,) = (line for line in lines if line.startswith("process_start_time_seconds "))
    assert float(started.split()[1]) > 0


def test_images_count_as_admitted_whether_they_are_answered_or_not(exposed: str) -> None:
    # Four that are answered, and one whose batch fails; a call without images is never let in.
    assert "offpath_admitted_images_total 5.0" in exposed.splitlines()


def test_allowed_alarms_add_up_the_budgets_of_images_that_could_be_flagged(exposed: str) -> None:
    # Three images at 0.02, of which the one of class 2 gets no promise, and one at 0.05.
    (allowed,) = re.findall(r"^offpath_allowed_alarms_total (.*)$", exposed, re.MULTILINE)
    assert float(allowed) == pytest.approx(2 * 0.02 + 0.05)
    assert 'offpath_verdicts_total{verdict="abstain"} 1.0' in exposed.splitlines()


def test_abstentions_are_counted_by_their_cause(exposed: str) -> None:
    lines = [line for line in exposed.splitlines() if line.startswith("offpath_abstentions_total")]
    assert lines == [
        'offpath_abstentions_total{reason="calibration_too_small"} 1.0',
        'offpath_abstentions_total{reason="output_not_finite"} 0.0',
        'offpath_abstentions_total{reason="rounding_decides"} 0.0',
    ]


def test_the_network_s_time_and_the_scores_are_told_apart() -> None:
    metrics = Metrics(CollectorRegistry())
    findings = Findings.__new__(Findings)
    object.__setattr__(findings, "spent", Spent(network_s=0.25, scoring_s=0.125))
    metrics.batches.batch("standard", 3, 0.5, findings)
    sums = {
        name: metrics.registry.get_sample_value(
            f"offpath_{name}_seconds_sum", {"level": "standard"}
        )
        for name in ("analysis", "network", "scoring")
    }
    assert sums == {"analysis": 0.5, "network": 0.25, "scoring": 0.125}


@pytest.mark.parametrize(
    ("created", "unix_time"),
    [
        ("2020-08-23T00:00:00+00:00", 1598140800.0),
        ("2020-08-23T02:00:00+02:00", 1598140800.0),
        ("2020-08-23", 1598140800.0),
    ],
)
def test_the_bundle_s_age_counts_from_its_calibration(created: str, unix_time: float) -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.bundles.served(created)
    found = metrics.registry.get_sample_value("offpath_bundle_created_timestamp_seconds")
    assert found == unix_time


def test_a_bundle_that_does_not_say_when_it_was_calibrated_has_no_age() -> None:
    metrics = Metrics(CollectorRegistry())
    for created in ("2020-08-23", ""):  # what came before it must not stay
        metrics.bundles.served(created)
    found = metrics.registry.get_sample_value("offpath_bundle_created_timestamp_seconds")
    assert found is not None
    assert math.isnan(found)
