"""Time that tests can stand in for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Protocol

__all__ = ["Clock", "MonotonicClock"]


class Clock(Protocol):
    """Where the batcher gets its time from, so that tests need not wait."""

    def now(self) -> float:
        """Seconds since some fixed moment."""

    async def wait(self, event: asyncio.Event, timeout_s: float) -> None:
        """Return when the event is set or the time is over, whichever comes first."""


class MonotonicClock:
    """The clock of the machine."""

    def now(self) -> float:
        """Seconds since the machine started."""
        return time.monotonic()

    async def wait(self, event: asyncio.Event, timeout_s: float) -> None:
        """Return when the event is set or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await event.wait()
