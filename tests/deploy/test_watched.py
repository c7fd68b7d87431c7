"""A loaded Offpath, scraped by a real Prometheus: the dashboards show something, no alert fires."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.watch.figures import filled_in, questions
from deploy.watch.prometheus import Prometheus, PrometheusError, local_prometheus
from service.admin_client import AdminClient
from service.client import Client
from service.load import ClosedLoop, LoadPlan, load_report
from service.load.requests import SAMPLES, payloads
from service.local_server import local_server
from service.results import CallError, Level
from tests.deploy.metric_names import names_in, rules
from tests.service.real_bundle import write_real_bundle

pytestmark = pytest.mark.slow

RARE = {
    "ALERTS": "has a series only while an alert fires, and on clean traffic none does",
}
"""Metrics that have data after a rare event only, and why."""


@pytest.fixture(scope="module")
def prometheus(
    programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that has watched a server with a shadow being loaded, and making errors."""
    bundle = tmp_path_factory.mktemp("standby") / "bundle"
    write_real_bundle(bundle)
    files = sorted(SAMPLES.glob("*.png"))
    with (
        local_server("--admin-port", "0", "--drain-delay-s", "0") as offpath,
        local_prometheus(
            programs["prometheus"], tmp_path_factory.mktemp("prometheus"), offpath.metrics_url
        ) as prometheus,
    ):
        with AdminClient(offpath.admin_address) as admin:
            admin.load(bundle)
            admin.shadow(0.5)
        with Client(offpath.address) as client, pytest.raises(CallError):
            client.detect([b"no image"])
        for level, seconds in ((Level.FAST, 1.0), (Level.STANDARD, 4.0)):
            plan = LoadPlan(load=ClosedLoop(callers=4), seconds=seconds, warm_up_s=0)
            assert load_report(offpath.address, payloads(files, level=level), plan).calls
        prometheus.wait_until("sum(increase(offpath_shadow_images_total[5m]))")
        prometheus.wait_until('sum(increase(offpath_images_total{level="standard"}[5m]))')
        prometheus.wait_until("sum(job:offpath_judged_images:increase1d)")
        prometheus.wait_until("sum(instance:offpath_queue_wait_seconds:mean5m)")
        yield prometheus


@pytest.mark.parametrize("question", list(questions()), ids=lambda q: f"{q.dashboard}, {q.panel}")
def test_every_query_of_the_dashboards_has_data(prometheus: Prometheus, question) -> None:
    if names_in(question.expression) & set(RARE):
        assert prometheus.query(filled_in(question.expression)) == []
        return
    samples = prometheus.query(filled_in(question.expression))
    assert [each for each in samples if math.isfinite(each.value)], question.expression


def test_every_rule_is_healthy_and_no_alert_fires_on_clean_traffic(prometheus: Prometheus) -> None:
    found = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(found) == len(rules())
    for rule in found:
        assert rule["health"] == "ok", rule
        assert rule.get("state", "inactive") == "inactive", rule


def test_every_recording_rule_has_data(prometheus: Prometheus) -> None:
    for rule in rules():
        if "record" in rule:
            assert prometheus.query(str(rule["record"])), rule


def test_shares_of_p_values_add_up_to_one(prometheus: Prometheus) -> None:
    bars = [q for q in questions() if q.panel == "P-values against even ones"]
    shown = [prometheus.query(filled_in(question.expression))[0].value for question in bars]
    assert sum(shown) / len(shown) == pytest.approx(1, abs=1e-6)


def test_the_observed_share_of_alarms_lies_within_its_interval(prometheus: Prometheus) -> None:
    budgeted, observed, lower, upper = (
        prometheus.query(filled_in(question.expression))[0].value
        for question in questions()
        if question.panel == "Observed against budgeted alarms"
    )
    assert budgeted == pytest.approx(0.05, rel=1e-3)
    assert 0 <= lower <= observed <= upper < 0.5


def test_a_query_that_is_none_is_a_clear_error(prometheus: Prometheus) -> None:
    with pytest.raises(PrometheusError, match=r"should understand .* Found: .*parse error"):
        prometheus.query("sum(")
