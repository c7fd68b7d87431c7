"""Processes beside this one that the figures about serving need: servers, callers, ceilings."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Self
from urllib.request import urlopen

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray
from offpath.v1 import detection_pb2
from PIL import Image

from service.local_server import LocalServer, local_server

__all__ = ["ONE_THREAD", "Worker", "core", "encoded", "is_serving", "metric", "png", "serving"]

_JPEG_QUALITY = 90
_STOP_TIMEOUT_S = 60.0
_SERVICE = detection_pb2.DESCRIPTOR.services_by_name["DetectionService"].full_name

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OFFPATH_TORCH_THREADS": "1"}
"""Variables of every process: OpenMP would else start a thread for each core, pinned or not."""


class Worker:
    """A process that reads one JSON order a line and answers each with one line of JSON.

    Args:
        module: What it runs.
        arguments: Its command line.
        on: The core it is pinned to.
    """

    def __init__(self, module: str, *arguments: str, on: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD,
        )
        _pin(self._process, on)

    def order(self, **order: Any) -> Any:
        """The answer to one order."""
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"A worker should answer. Found it gone: {self._process.args}.")
        return json.loads(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        _end(self._process)


@contextlib.contextmanager
def serving(
    *options: str,
    on: int | None = None,
    drain_delay_s: float = 0.0,
    program: Sequence[str] = ("-m", "service.cli"),
) -> Iterator[LocalServer]:
    """A server, of the bundled default unless it is told, on free ports; ready, then gone.

    Args:
        options: More options of ``offpath serve``.
        on: The core it is pinned to, with one thread; None for all cores, with a thread for each.
        drain_delay_s: How long it takes calls after SIGTERM, seconds.
        program: What Python runs with the arguments of `offpath`; the command itself by default.
    """
    with local_server(
        "--drain-delay-s",
        str(drain_delay_s),
        *options,
        core=on,
        environment={} if on is None else ONE_THREAD,
        program=program,
    ) as server:
        if not is_serving(server.address):
            raise RuntimeError("The server should be SERVING. Found that it is not.")
        yield server


def metric(server: LocalServer, name: str) -> float:
    """Value of a server's metric without labels."""
    with urlopen(server.metrics_url, timeout=30) as reply:
        lines = reply.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.split()[0] == name)


def core(index: int) -> int:
    """The core of this machine that has this place among those we may use."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[index % len(cores)]


def encoded(pixels: NDArray[np.uint8], kind: str) -> bytes:
    """A ``PNG`` or ``JPEG`` file of pixels of shape (H, W, 3)."""
    output = io.BytesIO()
    Image.fromarray(pixels).save(output, kind, quality=_JPEG_QUALITY)
    return output.getvalue()


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of pixels of shape (H, W, 3)."""
    return encoded(pixels, "PNG")


def _pin(process: subprocess.Popen[Any], on: int) -> None:
    # The interpreter is still loading: threads that start later inherit the core.
    os.sched_setaffinity(process.pid, {on})


def is_serving(address: str, *, timeout_s: float = 30.0) -> bool:
    """Whether health says that a server takes calls.

    Args:
        address: Where it is, ``host:port``.
        timeout_s: Longest wait for what health says, seconds.
    """
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        asked = health_pb2.HealthCheckRequest(service=_SERVICE)
        status = stub.Check(asked, timeout=timeout_s).status
    return bool(status == health_pb2.HealthCheckResponse.SERVING)


def _end(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
