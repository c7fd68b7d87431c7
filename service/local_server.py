"""A server in a process of its own on this machine, for as long as somebody needs it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.errors import StartError

__all__ = ["LocalServer", "local_server"]

_START_TIMEOUT_S = 180.0
_POLL_S = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalServer:
    """A running server.

    Args:
        process: Its process.
        address: Where calls go, ``host:port``.
        metrics_url: Where Prometheus looks.
        stop_timeout_s: Longest wait for its end, seconds.
        admin_address: Where the admin service is; empty where there is none.
    """

    process: subprocess.Popen[bytes]
    address: str
    metrics_url: str
    stop_timeout_s: float
    admin_address: str = ""

    def stop(self) -> int:
        """Send SIGTERM, wait, and give the exit code.

        Raises:
            StartError: If it did not end in time; then it was killed.
        """
        return _stop(self.process, self.stop_timeout_s)


@contextlib.contextmanager
def local_server(
    *options: str,
    core: int | None = None,
    environment: Mapping[str, str] | None = None,
    program: Sequence[str] = ("-m", "service.cli"),
    stop_timeout_s: float = 60.0,
) -> Iterator[LocalServer]:
    """A server on free ports of this machine, ready when the context opens and gone afterwards.

    Args:
        options: More options of ``offpath serve``.
        core: The core that it is pinned to; None for all.
        environment: Variables that it has beside those of this process.
        program: What Python runs with the arguments of ``offpath``; the command itself by default.
        stop_timeout_s: Longest wait for its end, seconds.

    Raises:
        StartError: If it does not start, does not end in time, or ends with another code than 0;
            after `LocalServer.stop` its exit code is the caller's to judge.
    """
    with tempfile.TemporaryDirectory(prefix="offpath-server-") as folder:
        ready, log = Path(folder) / "ready.json", Path(folder) / "server.log"
        command = [sys.executable, *program, "serve", "--host", "127.0.0.1", "--port", "0"]
        command += ["--metrics-port", "0", "--ready-file", str(ready), *options]
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  # our own command
                command, stdout=output, stderr=output, env={**os.environ, **(environment or {})}
            )
        try:
            if core is not None:
                # The interpreter is still loading: threads that start later inherit the core.
                os.sched_setaffinity(process.pid, {core})
            addresses = _wait_until_ready(process, ready, log)
            yield LocalServer(process=process, stop_timeout_s=stop_timeout_s, **addresses)
        except BaseException:
            # What went wrong before counts more than how the server ends.
            process.kill()
            process.wait()
            raise
        if process.returncode is None:  # else somebody stopped it and has its exit code
            code = _stop(process, stop_timeout_s)
            if code != 0:
                raise StartError(
                    f"The server should end with exit code 0. Found {code}. {_tail(log)}"
                )


def _wait_until_ready(process: subprocess.Popen[bytes], ready: Path, log: Path) -> dict[str, str]:
    give_up = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < give_up:
        if ready.exists():
            addresses: dict[str, str] = json.loads(ready.read_text())
            return addresses
        if process.poll() is not None:
            raise StartError(_tail(log))
        time.sleep(_POLL_S)
    raise StartError(
        f"The server should take calls within {_START_TIMEOUT_S:g} s. Found it still starting. "
        "Try again when the machine has less to do."
    )


def _stop(process: subprocess.Popen[bytes], timeout_s: float) -> int:
    process.terminate()
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired as error:
        process.kill()
        process.wait()
        raise StartError(
            f"The server should end within {timeout_s:g} s of SIGTERM. Found it still running, "
            "and killed it. Calls that it had accepted may be lost."
        ) from error


def _tail(log: Path) -> str:
    """The last line of the server's output, which is its error if there was one."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("Error: ") if lines else "It said nothing."
