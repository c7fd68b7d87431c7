"""Keeps traces of networks apart from networks at work in other threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["computing", "tracing"]


class _Turns:
    """Many may compute at once, or one may trace.

    torch.fx replaces `Module.__call__` of all modules while it traces one: what another thread
    computes meanwhile would be called into the trace, and fail. A server that loads a second
    bundle beside the first does both.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._one_trace = threading.Lock()
        self._traces = 0
        self._computations = 0

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Run modules beside others who do, but not beside a trace; not to be nested."""
        with self._changed:
            self._changed.wait_for(lambda: not self._traces)
            self._computations += 1
        try:
            yield
        finally:
            with self._changed:
                self._computations -= 1
                self._changed.notify_all()

    @contextmanager
    def tracing(self) -> Iterator[None]:
        """Trace a module while nobody computes; who comes later waits for its end."""
        with self._changed:
            # Announced before the wait: computations that follow each other would never end.
            self._traces += 1
            self._changed.wait_for(lambda: not self._computations)
        try:
            with self._one_trace:
                yield
        finally:
            with self._changed:
                self._traces -= 1
                self._changed.notify_all()


_turns = _Turns()
computing = _turns.computing
tracing = _turns.tracing
