"""A real Prometheus server looks at a real Offpath server."""

from __future__ import annotations

from pathlib import Path

from deploy.watch.prometheus import Prometheus, local_prometheus
from service.client import Client
from service.load.requests import SAMPLES
from service.local_server import local_server


def test_prometheus_scrapes_a_server_and_knows_its_calls(
    programs: dict[str, Path], tmp_path: Path
) -> None:
    photos = sorted(SAMPLES.glob("cat_*.png"))[:3]
    with local_server() as server, Client(server.address) as client:
        for photo in photos:
            alpha = client.detect([photo]).detections[0].alpha
        with local_prometheus(programs["prometheus"], tmp_path, server.metrics_url) as asked:
            assert value(asked, 'offpath_requests_total{code="OK",method="Detect"}') == len(photos)
            assert value(asked, "sum(offpath_verdicts_total)") == len(photos)
            assert value(asked, "offpath_network_seconds_count") > 0
            assert value(asked, "offpath_alarm_budget_ratio") == alpha
            assert value(asked, "time() - process_start_time_seconds") > 0
            assert value(asked, "time() - offpath_bundle_created_timestamp_seconds") > 0
            flagged = value(asked, 'offpath_verdicts_total{verdict="off_path"}')
            abstained = value(asked, 'offpath_verdicts_total{verdict="abstain"}')
            allowed = value(asked, "offpath_allowed_alarms_total")
            assert abs(allowed - alpha * (len(photos) - abstained)) < 1e-9
            observed = (
                'offpath_verdicts_total{verdict="off_path"}'
                " / ignoring(verdict) offpath_allowed_alarms_total"
            )
            assert abs(value(asked, observed) - flagged / allowed) < 1e-9


def value(prometheus: Prometheus, query: str) -> float:
    """What Prometheus answers to a query of one series."""
    (sample,) = prometheus.query(query)
    return sample.value
