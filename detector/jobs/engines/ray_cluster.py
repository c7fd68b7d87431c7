"""Connects to a Ray cluster, or says soon why not."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from detector.errors import EngineError

__all__ = ["abandon_tasks", "connected_ray"]

_ADDRESS = "RAY_ADDRESS"
_HERE = "local"
_TIMEOUT_S = 10.0
_ours: set[str] = set()
"""Addresses that this module connected the process to, rather than somebody else in it."""


def connected_ray() -> Any:
    """Ray, connected to the cluster that ``RAY_ADDRESS`` names, if it is not already.

    Ray sets that variable within its own jobs. ``local`` starts a cluster of this machine alone,
    which ends with this process.

    Raises:
        ModuleNotFoundError: If Ray is not installed.
        EngineError: If there is no such cluster.
    """
    import ray  # noqa: PLC0415  # optional

    if not ray.is_initialized():
        _connect(ray, os.environ.get(_ADDRESS, ""))
    return ray


def abandon_tasks() -> None:
    """Let go of what was handed over and nobody will ask for, by leaving the cluster.

    The cluster then ends these tasks with their driver. They are not cancelled: Ray 2.60 ends the
    whole process where a task is done just when it is cancelled. A connection that somebody else
    in this process made is left alone; the tasks then run to their end.
    """
    import ray  # noqa: PLC0415  # optional

    if _ours:
        _ours.clear()
        ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    if address != _HERE:
        _require_answer(address)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or Ray warns of a default
    # Pieces behind one that failed may fail as well: nobody asks for these.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    more = {"include_dashboard": False} if address == _HERE else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING, **more)
    except (OSError, RuntimeError, ValueError) as error:
        raise _away(address, str(error)) from error
    _ours.add(address)


def _require_answer(address: str) -> None:
    """Ask the address itself: Ray goes on trying for minutes, then ends the process."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise _away(address, "no host and port" if address else "nothing")
    try:
        socket.create_connection((host, int(port)), timeout=_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise _away(address, str(error)) from error


def _away(address: str, found: str) -> EngineError:
    where = f" at {address}" if address else ""
    return EngineError(
        f"A Ray cluster should answer{where}. Found: {found.strip().rstrip('.')}. Name its head in "
        f"{_ADDRESS}, as host:6379; or submit the command as a Ray job, which sets that; or set it "
        f"to {_HERE} to use this machine alone."
    )
