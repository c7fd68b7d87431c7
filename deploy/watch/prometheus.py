"""A Prometheus server on this machine, with the configuration and rules that we ship."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from detector.errors import OffpathError

__all__ = ["Prometheus", "PrometheusError", "Sample", "local_prometheus"]

_SHIPPED = Path(__file__).parents[1] / "prometheus"
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 30.0
_ANSWER_S = 30.0
_POLL_S = 0.1


class PrometheusError(OffpathError):
    """Prometheus does not start, does not answer, or does not understand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """The value of one series at one moment; NaN where it is undefined."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Prometheus:
    """A running server, asked through its own HTTP interface.

    Args:
        address: Where it listens, ``host:port``.
    """

    address: str

    def query(self, expression: str) -> list[Sample]:
        """The series that an expression has now.

        Args:
            expression: PromQL, of an instant vector or a scalar.

        Raises:
            PrometheusError: If it does not answer, or does not understand the expression.
        """
        data = self.get("query", query=expression)
        if data["resultType"] == "scalar":
            return [Sample(labels={}, value=float(data["result"][1]))]
        return [
            Sample(labels=series["metric"], value=float(series["value"][1]))
            for series in data["result"]
        ]

    def get(self, path: str, **arguments: str) -> Any:
        """What its interface answers.

        Args:
            path: Below ``/api/v1/``.
            arguments: Of the query string.

        Raises:
            PrometheusError: If it does not answer, or says no.
        """
        connection = HTTPConnection(self.address, timeout=_ANSWER_S)
        try:
            connection.request("GET", f"/api/v1/{path}?{urlencode(arguments)}")
            answer = json.loads(connection.getresponse().read())
        except (OSError, HTTPException, ValueError) as error:
            raise PrometheusError(
                f"Prometheus should answer at {self.address}. Found: {error}. See its log."
            ) from error
        finally:
            connection.close()
        if answer["status"] != "success":
            raise PrometheusError(
                f"Prometheus should understand {arguments}. Found: {answer['error']}. Mend it."
            )
        return answer["data"]

    def wait_until(self, expression: str, *, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Wait until an expression has a series with a value that is a number other than 0.

        Args:
            expression: PromQL.
            timeout_s: Longest wait, seconds.

        Raises:
            PrometheusError: If it has none in time.
        """
        give_up = time.monotonic() + timeout_s
        found: object = None
        while time.monotonic() < give_up:
            try:
                found = samples = self.query(expression)
            except PrometheusError as error:  # it may still be starting
                found = error
            else:
                if any(each.value and not math.isnan(each.value) for each in samples):
                    return
            time.sleep(_POLL_S)
        raise PrometheusError(
            f"Prometheus should know {expression} within {timeout_s:g} s. Found {found}. "
            "Try again when the machine has less to do."
        )


@contextlib.contextmanager
def local_prometheus(
    program: Path, folder: Path, metrics_url: str, *, scrape_interval: str = "1s"
) -> Iterator[Prometheus]:
    """A server on a free port that has scraped its target when the context opens.

    Its configuration is the one that we ship, but for the target and the intervals.

    Args:
        program: Where ``prometheus`` lies.
        folder: An empty one for its data, configuration and log.
        metrics_url: What it scrapes.
        scrape_interval: Time between two scrapes, and between two looks at the rules.

    Raises:
        PrometheusError: If it does not start.
    """
    target = urlsplit(metrics_url).netloc
    text = (_SHIPPED / "prometheus.yml").read_text()
    config = folder / "prometheus.yml"
    config.write_text(
        text.replace("127.0.0.1:9464", target)
        .replace("15s", scrape_interval)
        .replace("rules/", f"{_SHIPPED}/rules/")
    )
    address = _free_address()
    command = [
        str(program),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  # our own command
            command, stdout=log, stderr=log
        )
    try:
        server = Prometheus(address=address)
        server.wait_until('up{job="offpath"}')
        yield server
    finally:
        _stop(process)


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
