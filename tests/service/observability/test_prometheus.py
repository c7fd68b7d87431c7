"""A real Prometheus server looks at a real Offpath server."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from service.client import Client
from service.local_server import local_server

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "deploy" / "prometheus" / "prometheus.yml"
PATIENCE_S = 120.0


def test_prometheus_scrapes_a_server_and_knows_its_calls(
    programs: dict[str, Path], tmp_path: Path
) -> None:
    photos = sorted((ROOT / "service" / "samples").glob("cat_*.png"))[:3]
    with local_server() as server, Client(server.address) as client:
        for photo in photos:
            alpha = client.detect([photo]).detections[0].alpha
        with prometheus(programs["prometheus"], tmp_path, server.metrics_url) as url:
            assert value(url, 'offpath_requests_total{code="OK",method="Detect"}') == len(photos)
            assert value(url, "sum(offpath_verdicts_total)") == len(photos)
            assert value(url, "offpath_network_seconds_count") > 0
            assert value(url, "offpath_alarm_budget_ratio") == alpha
            assert value(url, "time() - process_start_time_seconds") > 0
            flagged = value(url, 'offpath_verdicts_total{verdict="off_path"}')
            abstained = value(url, 'offpath_verdicts_total{verdict="abstain"}')
            allowed = value(url, "offpath_allowed_alarms_total")
            assert abs(allowed - alpha * (len(photos) - abstained)) < 1e-9
            observed = (
                'offpath_verdicts_total{verdict="off_path"}'
                " / ignoring(verdict) offpath_allowed_alarms_total"
            )
            assert abs(value(url, observed) - flagged / allowed) < 1e-9


@contextlib.contextmanager
def prometheus(program: Path, folder: Path, metrics_url: str) -> Iterator[str]:
    """A Prometheus server with the configuration that we ship, but for address and interval."""
    target = urllib.parse.urlsplit(metrics_url).netloc
    text = EXAMPLE.read_text()
    assert "127.0.0.1:9464" in text
    config = folder / "prometheus.yml"
    config.write_text(text.replace("127.0.0.1:9464", target).replace("15s", "1s"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [
        str(program),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def value(url: str, query: str) -> float:
    """What Prometheus answers to a query of one series, once it has scraped for the first time."""
    give_up = time.monotonic() + PATIENCE_S
    found: object = None
    while time.monotonic() < give_up:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            asked = urllib.parse.urlencode({"query": query})
            with urllib.request.urlopen(f"{url}/api/v1/query?{asked}", timeout=10) as reply:
                found = json.load(reply)["data"]["result"]
            if found:
                (series,) = found
                return float(series["value"][1])
        time.sleep(0.1)
    raise AssertionError(f"Prometheus should know {query}. Found {found}.")
