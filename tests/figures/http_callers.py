"""A load generator like `callers`, for a server that takes images as base64 in JSON over HTTP."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import numpy as np

from service.load.report import LoadReport, Outcome
from tests.figures.callers import say
from tests.figures.serving import png

__all__ = ["load_report", "wait_until_healthy"]

_TIMEOUT_S = 60.0
_WARM_UP_S = 0.5
_POLL_S = 0.1


def wait_until_healthy(address: str, *, timeout_s: float = _TIMEOUT_S) -> None:
    """Wait for ``GET /health`` to answer 200.

    Raises:
        TimeoutError: If it does not in time.
    """
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up:
        with (
            contextlib.suppress(OSError),
            contextlib.closing(HTTPConnection(address, timeout=timeout_s)) as connection,
        ):
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        time.sleep(_POLL_S)
    raise TimeoutError(f"{address} should be healthy within {timeout_s:g} s. Found that it is not.")


def load_report(
    address: str, bodies: Sequence[str], *, callers: int, seconds: float, warm_up_s: float
) -> LoadReport:
    """Callers in a closed loop, each with a connection of its own that it keeps.

    Args:
        address: Where the server is, ``host:port``.
        bodies: What is sent to ``/predict``, in turn.
        callers: Number of them.
        seconds: How long is measured.
        warm_up_s: How long calls are sent before that and left out.

    Raises:
        RuntimeError: If an answer is not 200.
    """
    origin = time.perf_counter() + warm_up_s
    upcoming = itertools.cycle(bodies)

    def calls(_: int) -> list[Outcome]:
        outcomes = []
        with contextlib.closing(HTTPConnection(address, timeout=_TIMEOUT_S)) as connection:
            while (sent := time.perf_counter() - origin) < seconds:
                connection.request(
                    "POST", "/predict", next(upcoming), {"Content-Type": "application/json"}
                )
                reply = connection.getresponse()
                text = reply.read()
                if reply.status != 200:
                    raise RuntimeError(f"Every call should be answered. Found {text!r}.")
                ended = time.perf_counter() - origin
                outcomes.append(Outcome(sent, sent, ended, "OK", 1))
        return outcomes

    with ThreadPoolExecutor(callers) as threads:
        found = list(itertools.chain(*threads.map(calls, range(callers))))
    return LoadReport.of(found, seconds)


def main() -> None:
    """Call a server with the images of an .npy file, (N, H, W, 3), for as long as each order says.

    Orders: ``callers``; ``seconds``. The answers are those of `callers`.
    """
    address, pixels = sys.argv[1], np.load(Path(sys.argv[2]))
    bodies = [json.dumps({"image": base64.b64encode(png(each)).decode()}) for each in pixels]
    wait_until_healthy(address)
    for line in sys.stdin:
        order = json.loads(line)
        report = load_report(
            address,
            bodies,
            callers=order["callers"],
            seconds=order["seconds"],
            warm_up_s=_WARM_UP_S,
        )
        say(report, order["callers"])


if __name__ == "__main__":
    main()
