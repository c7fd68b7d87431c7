"""What a server does with twice the load that it can take."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil

from detector.errors import OffpathError
from service.client import Client
from service.load.requests import SAMPLES
from service.local_server import LocalServer
from service.results import ServerBusyError
from tests.figures.bench import Bench
from tests.figures.figure import Figure, reported
from tests.figures.serving import core, is_serving, metric, serving

__all__ = ["overload"]

_CALLERS = 64
_CAPACITY_S = 10.0
_OVERLOAD_S = 60.0
_FACTOR = 2.0
_TIMEOUT_S = 1.0
_FULL_S = 10.0
_FULL_TIMEOUT_S = 30.0
"""Longer than a full queue takes by far: room runs out before time does."""
_PROBE_S = 0.25
_GOODPUT_TARGET = 0.90
_LATE_TARGET = 0.01
_MEMORY_TARGET = 0.10
_PROBES_TARGET = 0.5
"""Of the probes that there is time for: each takes some itself."""
_ALLOWED = {"OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
_ADMITTED = "offpath_admitted_images_total"


def overload(bench: Bench) -> list[Figure]:  # every measurement gets one
    """An open loop at twice the capacity for a minute, calls of one PNG image due within a second.

    Capacity is what 64 callers in a closed loop get, just before. Server and generator have a core
    each. Beside the load, one caller with a client of ours asks whether health still says SERVING,
    another one calls and looks at how it is refused, and the server's memory is read, each four
    times a second. Behind it, the same rate for ten seconds with deadlines so long that the queue
    is full before they are hopeless.
    """
    with serving(on=core(0)) as server:
        closed = _bench(server, "--callers", str(_CALLERS), "--duration-s", str(_CAPACITY_S))
        capacity, memory = closed["calls_per_s"], _resident(server)
        before = metric(server, _ADMITTED)
        with _probing(server) as seen:
            opened = _overloaded(server, _FACTOR * capacity, _OVERLOAD_S, _TIMEOUT_S)
        accepted = round(metric(server, _ADMITTED) - before)  # images, one in each call
        full = _overloaded(server, _FACTOR * capacity, _FULL_S, _FULL_TIMEOUT_S)
        code = server.stop()
    return [
        _goodput(opened, capacity),
        _refusals(opened, full, seen),
        _full_queue(full),
        _late(accepted, opened["codes"].get("OK", 0) + seen.calls["OK"]),
        _times(opened),
        *_state(seen, max(seen.memory, default=0) / memory - 1, code),
    ]


def _overloaded(
    server: LocalServer, rate: float, seconds: float, timeout_s: float
) -> dict[str, Any]:
    # Without a warm-up: the server's own counts are compared with those of all calls.
    options = {"--rate": rate, "--duration-s": seconds, "--timeout-s": timeout_s}
    named = [text for name, value in options.items() for text in (name, f"{value:.1f}")]
    return _bench(server, *named, "--warm-up-s", "0")


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
    """What was seen beside the load; without an end where it went wrong."""

    health: Counter[bool] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)
    seconds: float = 0.0


@contextlib.contextmanager
def _probing(server: LocalServer) -> Iterator[_Seen]:
    seen, over = _Seen(), threading.Event()
    image = min(SAMPLES.glob("*.png"))

    def ask_health() -> None:
        while not over.wait(_PROBE_S):
            seen.health[_answers_serving(server)] += 1
            seen.memory.append(_resident(server))

    def call() -> None:
        with Client(server.address, timeout_s=_TIMEOUT_S) as client:
            while not over.wait(_PROBE_S):
                seen.calls[_outcome(client, image)] += 1

    probers = [threading.Thread(target=work, name=work.__name__) for work in (ask_health, call)]
    started = time.monotonic()
    for prober in probers:
        prober.start()
    try:
        yield seen
    finally:
        seen.seconds = time.monotonic() - started
        over.set()
        for prober in probers:
            prober.join()


def _answers_serving(server: LocalServer) -> bool:
    try:
        return is_serving(server.address, timeout_s=_TIMEOUT_S)
    except grpc.RpcError:
        return False


def _outcome(client: Client, image: Path) -> str:
    try:
        client.detect([image])
    except ServerBusyError as error:
        return "told when to retry" if error.retry_after_s > 0 else "not told when to retry"
    except OffpathError as error:
        return type(error).__name__
    return "OK"


def _goodput(opened: dict[str, Any], capacity: float) -> Figure:
    share = opened["calls_per_s"] / capacity
    return Figure(
        name=f"goodput at {_FACTOR:g} times capacity, open loop, {_OVERLOAD_S:g} s",
        target=f">= {_GOODPUT_TARGET:.0%} of capacity",
        measured=f"{share:.1%} ({opened['calls_per_s']:.0f} of {capacity:.0f} calls/s)",
        holds=share >= _GOODPUT_TARGET,
    )


def _refusals(opened: dict[str, Any], full: dict[str, Any], seen: _Seen) -> Figure:
    calls = Counter(opened["codes"]) + Counter(full["codes"])
    expected = {"OK", "told when to retry", "RequestTimeoutError"}
    others = sum(n for code, n in calls.items() if code not in _ALLOWED)
    others += sum(n for kind, n in seen.calls.items() if kind not in expected)
    codes, probes = (
        ", ".join(f"{n} {kind}" for kind, n in found.most_common()) for found in (calls, seen.calls)
    )
    return Figure(
        name="calls under overload that ended in another way than answered, full or out of time",
        target="0",
        measured=f"{others} ({codes}; probes: {probes})",
        holds=not others and seen.calls.total() > 0,
    )


def _full_queue(full: dict[str, Any]) -> Figure:
    refused, told = full["codes"].get("RESOURCE_EXHAUSTED", 0), full["told_to_retry"]
    return Figure(
        name=f"calls that found the queue full, with deadlines of {_FULL_TIMEOUT_S:g} s",
        target="some, every one told when to try again",
        measured=f"{told} of {refused} with RetryInfo",
        holds=0 < refused == told,
    )


def _late(accepted: int, answered: int) -> Figure:
    late = accepted - answered
    return Figure(
        name="accepted calls without an answer in time, under overload",
        target=f"<= {_LATE_TARGET:.0%}: their p99 is within the deadline",
        measured=f"{late / max(1, accepted):.2%} ({late} of {accepted})",
        holds=accepted > 0 and late <= _LATE_TARGET * accepted,
    )


def _times(opened: dict[str, Any]) -> Figure:
    p99, late = opened["latency_ms"].get("p99", math.nan), opened["lateness_ms"]["p99"]
    return reported(
        "p99 of the calls answered, under overload",
        f"{p99:.0f} ms from when they were due (p99 of lateness {late:.0f} ms)",
    )


def _state(seen: _Seen, grown: float, code: int) -> list[Figure]:
    total, wanted = seen.health.total(), _PROBES_TARGET * seen.seconds / _PROBE_S
    return [
        Figure(
            name="health SERVING throughout the overload",
            target=f"always, in {wanted:.0f} probes or more; exit code 0 after",
            measured=f"{seen.health[True]} of {total} probes, exit code {code}",
            holds=seen.health[True] == total >= wanted and code == 0,
        ),
        Figure(
            name="most resident memory during the overload, against capacity",
            target=f"within {_MEMORY_TARGET:.0%}",
            measured=f"{grown:+.1%} in {len(seen.memory)} looks",
            holds=len(seen.memory) >= wanted and grown <= _MEMORY_TARGET,
        ),
    ]


def _resident(server: LocalServer) -> int:
    return psutil.Process(server.process.pid).memory_info().rss
