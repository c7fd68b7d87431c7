"""Turns calls away at the door, where nothing in their message could still save them."""

from __future__ import annotations

from collections.abc import Collection

from service.engines import Engines

__all__ = ["Entrance"]


class Entrance:
    """Looks at a call's method and deadline alone, before its message is read.

    An overloaded server turns away as many calls as it answers, or more: what each of them costs,
    the others lack.

    Args:
        engines: Who would judge the images.
        paths: The methods that need a place in the queue, ``/package.Service/Method``.
    """

    def __init__(self, engines: Engines, paths: Collection[str]) -> None:
        self._engines = engines
        self._paths = frozenset(paths)

    def check(self, path: str, remaining_s: float | None) -> None:
        """Refuse a call that would be refused whatever it asks.

        Args:
            path: Its method, ``/package.Service/Method``.
            remaining_s: How long the caller still waits, seconds; None is for ever.

        Raises:
            QueueFullError: If there is no room for anybody.
            DeadlineError: If the caller would not wait long enough.
        """
        if path in self._paths:
            batcher = self._engines.active.batcher
            batcher.check_hope(batcher.deadline(remaining_s))
