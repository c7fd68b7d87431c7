"""What is made of files and made again when they change; a bad change keeps what there was."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from detector.errors import OffpathError

__all__ = ["LOOK_EVERY_S", "ReloadObserver", "Reloading"]

LOOK_EVERY_S = 1.0
"""Files are looked at no more often than this, seconds: nobody waits for a new token so eagerly
that each call should pay for it."""

T = TypeVar("T")
_Stamp = tuple[tuple[int, int, int] | None, ...]
_log = logging.getLogger(__name__)


class ReloadObserver(Protocol):
    """Who is told of attempts to load changed files; the metrics of the service are one."""

    def reloaded(self, what: str, *, succeeded: bool) -> None:
        """Changed files were loaded, or could not be."""


class Reloading(Generic[T]):
    """A value made of files, looked at again when it is asked for; safe to ask from any thread.

    Args:
        files: What it is made of.
        make: Reads and checks them; raises an `OffpathError` where they cannot be used.
        what: Its name in logs and metrics.
        observer: Who is told of later attempts.
        every_s: The files are looked at no more often than this, seconds.
        now: Seconds since some fixed moment.

    Raises:
        OffpathError: If the first attempt fails.
    """

    def __init__(
        self,
        files: Sequence[Path],
        make: Callable[[], T],
        *,
        what: str,
        observer: ReloadObserver,
        every_s: float = LOOK_EVERY_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = tuple(files)
        self._make = make
        self._what = what
        self._observer = observer
        self._every_s = every_s
        self._now = now
        self._lock = threading.Lock()
        # Before they are read: a change in between is then seen at the next look.
        self._stamp = _stamp(self._files)
        self._value = make()
        self._due_s = now() + every_s

    def current(self) -> T:
        """The value of the newest files that could be used."""
        with self._lock:
            if self._now() >= self._due_s:
                self._due_s = self._now() + self._every_s
                self._look()
            return self._value

    def _look(self) -> None:
        stamp = _stamp(self._files)
        if stamp == self._stamp:
            return
        # Kept after a failure too: one line for each change, not one for each look.
        self._stamp = stamp
        try:
            self._value = self._make()
        except OffpathError as error:
            _log.error("Keeps the %s loaded before: %s", self._what, error)
            self._observer.reloaded(self._what, succeeded=False)
        else:
            _log.info("Loaded the changed %s", self._what)
            self._observer.reloaded(self._what, succeeded=True)


def _stamp(files: Sequence[Path]) -> _Stamp:
    """What differs when a file was written, replaced, removed, or its link led elsewhere."""
    return tuple(_stamp_of(file) for file in files)


def _stamp_of(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
