"""A real Ray cluster of two workers on this machine, of which one can be killed."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import psutil

__all__ = ["RayCluster", "environment", "running_cluster", "until"]

_WAIT_S = 240.0
"""On a busy machine Ray's workers alone take minutes to start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RayCluster:
    """One that runs.

    Args:
        address: Where its head is.
        first: The process that started all others.
    """

    address: str
    first: psutil.Process

    def kill_one_at_work(self) -> bool:
        """End a process that does a piece of work just now; False where none does."""
        for process in self.first.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name().startswith("ray::_do"):
                    process.suspend()  # or it might finish in between
                    if process.name().startswith("ray::_do"):
                        process.kill()
                        return True
                    process.resume()
        return False


@contextlib.contextmanager
def running_cluster(more: Mapping[str, str] | None = None) -> Iterator[RayCluster]:
    """A cluster of two workers with a core each, which ends with the context.

    Its folder has a short name: those of its sockets may have 107 letters.

    Args:
        more: What its processes find in their environment beside ours.
    """
    with socket.create_server(("127.0.0.1", 0)) as free, tempfile.TemporaryDirectory() as folder:
        port = free.getsockname()[1]
        free.close()
        options = {
            "port": port,
            "num-cpus": 2,
            "object-store-memory": 100 * 2**20,
            "include-dashboard": "false",
            "temp-dir": folder,
        }
        started = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
            + [f"--{name}={value}" for name, value in options.items()]
            + ["--disable-usage-stats"],
            env={**environment(), **(more or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        first = psutil.Process(started.pid)
        try:
            until(lambda: _answers(port))
            yield RayCluster(address=f"127.0.0.1:{port}", first=first)
        finally:
            family = [*first.children(recursive=True), first]
            started.terminate()
            started.wait(_WAIT_S)
            _, alive = psutil.wait_procs(family, timeout=10)
            for process in alive:
                process.kill()


def environment(address: str | None = None) -> dict[str, str]:
    """What a process needs for the same bits here and on the cluster at an address."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "RAY_AUTH_MODE": "disabled",  # of this machine alone, for a minute
        "RAY_ADDRESS": address or "",
    }


def until(holds: Callable[[], bool]) -> None:
    """Wait for something, some minutes at most."""
    end = time.monotonic() + _WAIT_S
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def _answers(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0
