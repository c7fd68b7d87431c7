"""Other people's servers in processes of their own, asleep while another one is measured."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Self

from tests.figures.serving import ONE_THREAD

__all__ = ["OtherServer"]

_STOP_TIMEOUT_S = 30.0


class OtherServer:
    """A program that serves, together with all processes that it starts.

    Args:
        program: What Python runs; its first line of output is its address.
        on: The core that all of it is pinned to.
    """

    def __init__(self, program: Sequence[str], *, on: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *program],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD,
            start_new_session=True,  # a group of its own, which signals reach as one
        )
        # The interpreter is still loading: what starts later inherits the core.
        os.sched_setaffinity(self._process.pid, {on})

    @property
    def address(self) -> str:
        """Where it says that it is; waits until it says so.

        Raises:
            RuntimeError: If it ends before.
        """
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"A server should start. Found it gone: {self._process.args}.")
        return line

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Let it run; asleep afterwards, for some poll their queues all the time."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_TIMEOUT_S)
        self._signal(signal.SIGKILL)  # what is left of the group
        self._process.wait()
        self._process.stdout.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # all of it has ended
            os.killpg(self._process.pid, number)
