"""Who may come in: a bound on what the process holds, in images and in bytes."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator
from enum import Enum

from detector.errors import InvalidInputError, OffpathError

__all__ = ["Admission", "DeadlineError", "DrainingError", "Priority", "QueueFullError"]

_LEAST_RETRY_S = 0.05


class Priority(Enum):
    """Who goes first."""

    INTERACTIVE = "interactive"
    """Somebody waits for the answer."""
    BULK = "bulk"
    """It takes what interactive images leave."""


class QueueFullError(OffpathError):
    """The queue has no room.

    Args:
        message: What was full.
        retry_after_s: When there is likely to be room, seconds from now.
    """

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DrainingError(OffpathError):
    """The server is shutting down and takes nothing new."""


class DeadlineError(OffpathError):
    """The caller's deadline passed, or would pass before its turn."""


class Admission:
    """Counts the requests that were let in and not yet answered, and lets no more in than fit.

    gRPC's own limit on calls is not used: it counts calls instead of images, and it turns health
    checks away as well, so that an overloaded server would be restarted.

    Args:
        max_images: Most images held at once.
        max_bytes: Most bytes held at once.
        changed: Told the number of images held, whenever it changes.
        bulk_share: Most of both that bulk may hold, so that others always find room, in (0, 1].
    """

    def __init__(
        self,
        *,
        max_images: int,
        max_bytes: int,
        changed: Callable[[int], None],
        bulk_share: float = 1.0,
    ) -> None:
        self._most = {
            Priority.INTERACTIVE: {"images": max_images, "bytes": max_bytes},
            Priority.BULK: {
                "images": math.ceil(bulk_share * max_images),
                "bytes": math.ceil(bulk_share * max_bytes),
            },
        }
        self._changed = changed
        self._bulk: Counter[str] = Counter()
        self._bytes = 0
        self._refusing = False
        self.images = 0
        self.peak = 0
        self.idle = asyncio.Event()
        self.idle.set()

    def refuse_new(self) -> None:
        """Let nobody in from now on."""
        self._refusing = True

    def forget_peak(self) -> None:
        """Measure `peak`, the most images held at once, from now on."""
        self.peak = self.images

    def check_possible(self, *, images: int, size_bytes: int, priority: Priority) -> None:
        """Refuse a request that would not fit if it were the only one: a retry cannot help it.

        Args:
            images: Number of its images.
            size_bytes: What it holds in memory, bytes.
            priority: Bulk has a share of the room only.

        Raises:
            InvalidInputError: If there is never so much room.
        """
        for name, wanted in {"images": images, "bytes": size_bytes}.items():
            most = self._most[priority][name]
            if wanted > most:
                raise InvalidInputError(
                    f"A call of {priority.value} priority should have at most {most} {name}, all "
                    f"that the queue has room for. Found {wanted}. Send several smaller calls.",
                    field="images",
                )

    def check_not_full(self, *, expected_wait_s: float) -> None:
        """Refuse a request of which nothing is known, where there is no room for any.

        Args:
            expected_wait_s: What a refused caller is told to wait, seconds.

        Raises:
            QueueFullError: If there is no room for one image of one byte.
        """
        self._check_room({"images": 1, "bytes": 1}, Priority.INTERACTIVE, expected_wait_s)

    @contextlib.contextmanager
    def hold(
        self, *, images: int, size_bytes: int, expected_wait_s: float, priority: Priority
    ) -> Iterator[None]:
        """Hold room for a request while the context is open.

        Args:
            images: Number of its images.
            size_bytes: What it holds in memory, bytes.
            expected_wait_s: What a refused caller is told to wait, seconds.
            priority: Bulk is bounded by itself as well as together with the others.

        Raises:
            DrainingError: If the server is shutting down.
            QueueFullError: If there is no room.
        """
        if self._refusing:
            raise DrainingError(
                "The server should be serving. Found it shutting down. Try another one."
            )
        wanted = {"images": images, "bytes": size_bytes}
        self._check_room(wanted, Priority.INTERACTIVE, expected_wait_s)
        if priority is Priority.BULK:
            self._check_room(wanted, priority, expected_wait_s)
            self._bulk.update(wanted)
        self._add(images, size_bytes)
        try:
            yield
        finally:
            if priority is Priority.BULK:
                self._bulk.subtract(wanted)
            self._add(-images, -size_bytes)

    def _check_room(self, wanted: dict[str, int], bound: Priority, retry_after_s: float) -> None:
        bulk = bound is Priority.BULK
        held = self._bulk if bulk else {"images": self.images, "bytes": self._bytes}
        for name, more in wanted.items():
            most = self._most[bound][name]
            if held[name] + more > most:
                raise QueueFullError(
                    f"The queue should have room for {more} {name}{' of bulk' if bulk else ''}. "
                    f"Found {held[name]} of {most} taken. Try again later.",
                    retry_after_s=max(_LEAST_RETRY_S, retry_after_s),
                )

    def _add(self, images: int, size_bytes: int) -> None:
        self.images += images
        self.peak = max(self.peak, self.images)
        self._bytes += size_bytes
        self._changed(self.images)
        if self.images:
            self.idle.clear()
        else:
            self.idle.set()
