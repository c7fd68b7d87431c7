"""What a server does with twice the load that it can take."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil

from detector.errors import OffpathError
from service.client import Client
from service.load.requests import SAMPLES
from service.local_server import LocalServer
from service.results import CallError, ServerBusyError
from tests.figures.bench import Bench
from tests.figures.figure import Figure
from tests.figures.serving import core, is_serving, serving

__all__ = ["overload"]

_CALLERS = 64
_CAPACITY_S = 10.0
_OVERLOAD_S = 60.0
_FACTOR = 2.0
_TIMEOUT_S = 1.0
_PROBE_S = 0.25
_GOODPUT_TARGET = 0.90
_MEMORY_TARGET = 0.10
_ALLOWED = {"OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}


def overload(bench: Bench) -> list[Figure]:  # every measurement gets one
    """An open loop at twice the capacity for a minute, calls of one PNG image due within a second.

    Capacity is what 64 callers in a closed loop get, just before. Server and generator have a core
    each. Beside the load, one caller with a client of ours asks four times a second whether health
    still says SERVING, and whether a refusal of its own call says when to try again.
    """
    with serving(on=core(0)) as server:
        closed = _bench(server, "--callers", str(_CALLERS), "--duration-s", str(_CAPACITY_S))
        capacity = closed["calls_per_s"]
        memory = _resident(server)
        with _probing(server) as seen:
            opened = _bench(
                server,
                *("--rate", f"{_FACTOR * capacity:.1f}"),
                *("--duration-s", str(_OVERLOAD_S), "--timeout-s", str(_TIMEOUT_S)),
            )
        grown = _resident(server) / memory - 1
        code = server.stop()
    return [
        _goodput(opened, capacity),
        _refusals(opened, seen),
        _times(opened),
        *_state(seen, grown, code),
    ]


def _bench(server: LocalServer, *options: str) -> dict[str, Any]:
    """What `offpath bench` says, from a process on a core of its own."""
    command = [sys.executable, "-m", "service.cli", "bench", server.address, "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        psutil.Process(process.pid).cpu_affinity([core(-1)])
        output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"The load should be measured. Found exit code {process.returncode}.")
    found: dict[str, Any] = json.loads(output)
    return found


@dataclass(kw_only=True)
class _Seen:
    """What the caller beside the load saw."""

    health: Counter[bool] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)


@contextlib.contextmanager
def _probing(server: LocalServer) -> Iterator[_Seen]:
    seen, over = _Seen(), threading.Event()
    image = min(SAMPLES.glob("*.png"))

    def probe() -> None:
        with Client(server.address, timeout_s=_TIMEOUT_S) as client:
            while not over.wait(_PROBE_S):
                seen.health[is_serving(server.address)] += 1
                try:
                    client.detect([image])
                except ServerBusyError as error:
                    seen.refusals["with RetryInfo" if error.retry_after_s > 0 else "without"] += 1
                except CallError as error:
                    seen.refusals[type(error).__name__] += 1
                except OffpathError as error:
                    seen.refusals[f"unexpected {type(error).__name__}"] += 1

    prober = threading.Thread(target=probe, name="prober")
    prober.start()
    started = time.monotonic()
    try:
        yield seen
    finally:
        over.set()
        prober.join()
    if not seen.health:
        raise RuntimeError(
            f"Health should be asked. Found none in {time.monotonic() - started:g} s."
        )


def _goodput(opened: dict[str, Any], capacity: float) -> Figure:
    share = opened["calls_per_s"] / capacity
    return Figure(
        name=f"goodput at {_FACTOR:g} times capacity, open loop, {_OVERLOAD_S:g} s",
        target=f">= {_GOODPUT_TARGET:.0%} of capacity",
        measured=f"{share:.1%} ({opened['calls_per_s']:.0f} of {capacity:.0f} calls/s)",
        holds=share >= _GOODPUT_TARGET,
    )


def _refusals(opened: dict[str, Any], seen: _Seen) -> Figure:
    others = {code: n for code, n in opened["codes"].items() if code not in _ALLOWED}
    unexpected = {
        kind: n
        for kind, n in seen.refusals.items()
        if kind not in ("with RetryInfo", "RequestTimeoutError")
    }
    codes = ", ".join(f"{n} {code}" for code, n in opened["codes"].items())
    probes = ", ".join(f"{n} {kind}" for kind, n in seen.refusals.items()) or "none refused"
    return Figure(
        name="excess calls with another code, or full and without RetryInfo",
        target="0",
        measured=f"{sum(others.values()) + sum(unexpected.values())} ({codes}; probes: {probes})",
        holds=not others and not unexpected,
    )


def _times(opened: dict[str, Any]) -> Figure:
    p99, late = opened["latency_ms"]["p99"], opened["lateness_ms"]["p99"]
    return Figure(
        name="p99 of the calls answered, under overload",
        target=f"<= {_TIMEOUT_S:g} s, the deadline",
        measured=f"{p99:.0f} ms from when they were due (p99 of lateness {late:.0f} ms)",
        holds=p99 <= 1e3 * _TIMEOUT_S,
    )


def _state(seen: _Seen, grown: float, code: int) -> list[Figure]:
    total = seen.health.total()
    return [
        Figure(
            name="health SERVING throughout the overload",
            target="always, exit code 0 after",
            measured=f"{seen.health[True]} of {total} probes, exit code {code}",
            holds=seen.health[True] == total and code == 0,
        ),
        Figure(
            name="resident memory after the overload, against capacity",
            target=f"within {_MEMORY_TARGET:.0%}",
            measured=f"{grown:+.1%}",
            holds=grown <= _MEMORY_TARGET,
        ),
    ]


def _resident(server: LocalServer) -> int:
    return psutil.Process(server.process.pid).memory_info().rss
