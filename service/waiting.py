"""Who waits for a batch: images in the order of their arrival, each with the kind of its batch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from service.admission import DeadlineError

__all__ = ["Item", "Waiting"]

A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Item(Generic[A]):
    """One image that waits.

    Args:
        image: uint8 of shape (3, h, w).
        arrived: When it came, seconds.
        deadline: When its caller stops to wait, seconds.
        future: Where the answer goes.
    """

    image: Tensor
    arrived: float
    deadline: float
    future: asyncio.Future[A]


class Waiting(Generic[A]):
    """The images that wait, a queue for each key: images of two keys never share a batch.

    Args:
        keys: All keys that there are.
        dropped: Told of each image that leaves unanswered, ``cancelled`` or ``expired``.
    """

    def __init__(self, keys: Iterable[str], dropped: Callable[[str], None]) -> None:
        self._queues: dict[str, deque[Item[A]]] = {key: deque() for key in keys}
        self._dropped = dropped

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def count(self, key: str) -> int:
        """Number of images of a key."""
        return len(self._queues[key])

    def first_deadline(self, key: str) -> float:
        """When the first caller of a key stops to wait, seconds; the key has an image."""
        return min(item.deadline for item in self._queues[key])

    def add(self, items: Iterable[Item[A]], key: str) -> None:
        """Put images behind those that wait already."""
        self._queues[key].extend(items)

    def oldest(self, now: float) -> str | None:
        """Key of the image that has waited longest and is still waited for; None without any."""
        for queue in self._queues.values():
            while queue and self._is_gone(queue[0], now):
                queue.popleft()
        heads = {key: queue[0].arrived for key, queue in self._queues.items() if queue}
        return min(heads, key=heads.__getitem__, default=None)

    def take(self, key: str, most: int, now: float) -> list[Item[A]]:
        """Remove the first images of a key that somebody still waits for.

        Args:
            key: Which images.
            most: Most of them.
            now: The time, seconds.
        """
        queue = self._queues[key]
        taken: list[Item[A]] = []
        while queue and len(taken) < most:
            item = queue.popleft()
            if not self._is_gone(item, now):
                taken.append(item)
        return taken

    def take_all(self) -> list[Item[A]]:
        """Remove every image, waited for or not."""
        items = [item for queue in self._queues.values() for item in queue]
        for queue in self._queues.values():
            queue.clear()
        return items

    def _is_gone(self, item: Item[A], now: float) -> bool:
        """Whether nobody waits for an image any more; who should know is told."""
        if item.future.done():
            self._dropped("cancelled")
            return True
        if item.deadline <= now:
            self._dropped("expired")
            item.future.set_exception(DeadlineError("The deadline passed in the queue."))
            return True
        return False
