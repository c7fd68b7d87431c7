"""Who waits for a batch: images in the order of their arrival, each with the kind of its batch."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from detector.errors import OffpathError
from service.admission import DeadlineError, Priority

__all__ = ["Item", "Waiting"]

A = TypeVar("A")

_BULK_TURN = 8
"""Bulk that is overdue gets one batch in so many: it moves on, and others lose an eighth."""


@dataclass(frozen=True, slots=True)
class Item(Generic[A]):
    """One image that waits.

    Args:
        image: uint8 of shape (3, h, w).
        arrived: When it came, seconds.
        deadline: When its caller stops to wait, seconds.
        future: Where the answer goes.
        priority: Who goes first.
        explained: Whether its caller wants to know why.
    """

    image: Tensor
    arrived: float
    deadline: float
    future: asyncio.Future[A]
    priority: Priority = Priority.INTERACTIVE
    explained: bool = False

    def fail(self, error: OffpathError) -> None:
        """Give an error in place of the answer, where somebody still waits for one."""
        if not self.future.done():
            self.future.set_exception(error)


_Queue = deque[Item[A]]


class Waiting(Generic[A]):
    """The images that wait, queues for each key: images of two keys never share a batch.

    A batch has the key of the interactive image that has waited longest, and bulk fills its rest;
    without interactive images bulk has its way. Bulk that has waited too long is overdue: one batch
    in eight is then its own, of its key and filled with bulk first.

    Args:
        keys: All keys that there are.
        dropped: Told of each image that leaves unanswered: ``cancelled``, ``expired``, or ``late``
            where its batch would end after its deadline.
        patience_s: Wait after which bulk is overdue, seconds.
    """

    def __init__(
        self, keys: Iterable[str], dropped: Callable[[str], None], *, patience_s: float = math.inf
    ) -> None:
        self._queues: dict[str, dict[Priority, _Queue[A]]] = {
            key: {priority: deque() for priority in Priority} for key in keys
        }
        self._dropped = dropped
        self._patience_s = patience_s
        self._without_bulk = 0

    def __len__(self) -> int:
        return sum(map(self.count, self._queues))

    def count(self, key: str) -> int:
        """Number of images of a key."""
        return sum(map(len, self._queues[key].values()))

    def first_deadline(self, key: str) -> float:
        """When the first caller of a key stops to wait, seconds; the key has an image."""
        return min(item.deadline for queue in self._queues[key].values() for item in queue)

    def add(self, items: Iterable[Item[A]], key: str) -> None:
        """Put images behind those of their priority that wait already."""
        for item in items:
            self._queues[key][item.priority].append(item)

    def next_key(self, now: float) -> str | None:
        """Key whose turn it is; None where no image is still waited for.

        Args:
            now: The time, seconds.
        """
        interactive = self._first(Priority.INTERACTIVE, now)
        bulk = self._first(Priority.BULK, now)
        return bulk if interactive is None or self._has_turn(bulk, now) else interactive

    def take(self, key: str, most: int, now: float, *, ends: float) -> list[Item[A]]:
        """Remove the first images of a key that somebody still waits for.

        Args:
            key: Which images.
            most: Most of them.
            now: The time, seconds.
            ends: When their batch is likely to be done, seconds.
        """
        order = list(Priority)
        bulk_first = self._first(Priority.BULK, now)
        if key == bulk_first and self._has_turn(key, now):
            order.reverse()
        self._without_bulk += 1
        taken: list[Item[A]] = []
        for priority in order:
            before = len(taken)
            queue = self._queues[key][priority]
            while queue and len(taken) < most:
                item = queue.popleft()
                if not self._is_gone(item, now, ends):
                    taken.append(item)
            # Bulk of another key that was served does not help the one that has waited longest.
            if priority is Priority.BULK and key == bulk_first and len(taken) > before:
                self._without_bulk = 0
        return taken

    def take_all(self) -> list[Item[A]]:
        """Remove every image, waited for or not."""
        queues = [queue for of_key in self._queues.values() for queue in of_key.values()]
        items = [item for queue in queues for item in queue]
        for queue in queues:
            queue.clear()
        return items

    def _first(self, priority: Priority, now: float) -> str | None:
        """Key of the image of a priority that has waited longest and is still waited for."""
        heads: dict[str, float] = {}
        for key, queues in self._queues.items():
            queue = queues[priority]
            while queue and self._is_gone(queue[0], now, now):
                queue.popleft()
            if queue:
                heads[key] = queue[0].arrived
        return min(heads, key=heads.__getitem__, default=None)

    def _has_turn(self, key: str | None, now: float) -> bool:
        """Whether the bulk of a key is overdue, and others had their share of batches."""
        if key is None or self._without_bulk < _BULK_TURN - 1:
            return False
        bulk = self._queues[key][Priority.BULK]
        return bool(bulk) and now - bulk[0].arrived >= self._patience_s

    def _is_gone(self, item: Item[A], now: float, ends: float) -> bool:
        """Whether nobody waits for an image any more; who should know is told."""
        if item.future.done():
            self._dropped("cancelled")
            return True
        if item.deadline <= now:
            self._dropped("expired")
            item.future.set_exception(DeadlineError("The deadline passed in the queue."))
            return True
        if item.deadline < ends:
            self._dropped("late")
            item.future.set_exception(
                DeadlineError("The deadline would have passed before the image's batch was done.")
            )
            return True
        return False
