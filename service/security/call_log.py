"""Writes a line for each call, and spares a server that is overloaded most of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from service.security.call_record import CallRecord
from service.security.principal import Rate
from service.security.quotas import Bucket

__all__ = ["CallLog"]

_TURNED_AWAY = frozenset({"QUEUE_FULL", "DEADLINE_TOO_SHORT"})
_LINES = Rate(per_s=10.0, burst=100.0)
_log = logging.getLogger(__name__)


class CallLog:
    """The log of calls: of those that load turned away ten lines a second, of others each.

    A server turns most calls away when it has least time to write, and the lines say all the same.
    The next one that is written tells how many were left out; metrics count them all.

    Args:
        now: Seconds since some fixed moment.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lines = Bucket(_LINES, now())
        self._left_out = 0

    def tell(self, call: CallRecord) -> None:
        """Write the line of a call, or leave it out.

        Args:
            call: The call, which has ended.
        """
        if call.reason in _TURNED_AWAY:
            if self._lines.missing_s(1, self._now()):
                self._left_out += 1
                return
            self._lines.take(1)
            call.left_out, self._left_out = self._left_out, 0
        _log.info(call)
