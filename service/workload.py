"""What a batcher has before it, and how long that is likely to take."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from service.admission import Priority
from service.batch_times import BatchTimes

__all__ = ["Workload"]

_REPLY = 0.5
"""Time from the end of a batch to its last caller's hands, as a share of the batch's own time: its
replies are written one after the other while the next batch takes its share of the machine."""

_AHEAD = {priority: tuple(Priority)[: 1 + place] for place, priority in enumerate(Priority)}
"""Whose images are ahead of those of each priority: bulk is not ahead of interactive ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Running:
    """The batch on the inference thread."""

    key: str
    images: Counter[Priority]
    size: int
    started: float


class Workload:
    """Counts the admitted images of each key and prices them with the times of batches.

    Args:
        sizes: Sizes of batch of each key, ascending.
    """

    def __init__(self, sizes: Mapping[str, tuple[int, ...]]) -> None:
        self.sizes = dict(sizes)
        self.times = BatchTimes(sizes)
        self._admitted = {priority: dict.fromkeys(sizes, 0) for priority in Priority}
        self._batch: _Running | None = None

    def padded(self, key: str, images: int) -> int:
        """Size of the batch that so many images run in, at most a full one."""
        return next(size for size in self.sizes[key] if size >= images)

    def batch_s(self, key: str, images: int) -> float:
        """How long one batch of so many images is likely to take, seconds."""
        return self.times.expected_s(key, self.padded(key, images)) if images else 0.0

    def reply_s(self, key: str, images: int) -> float:
        """How long the replies to a batch of so many images may take, seconds."""
        return _REPLY * self.batch_s(key, images)

    def weight(self, key: str, images: int, wait_s: float) -> float:
        """What the wait of a call counts among those of others, 1 for a full batch.

        Less where it is shorter than a full batch takes: it is made of other things then.

        Args:
            key: The call's key.
            images: Number of its images, at least 1.
            wait_s: How long it is likely to wait, seconds.
        """
        full = self.sizes[key][-1]
        full_s = self.batch_s(key, full)
        return min(images, full) / full * (min(wait_s, full_s) / full_s if full_s else 1.0)

    @contextlib.contextmanager
    def admitted(self, key: str, images: int, priority: Priority) -> Iterator[None]:
        """Count images while the context is open."""
        self._admitted[priority][key] += images
        try:
            yield
        finally:
            self._admitted[priority][key] -= images

    @contextlib.contextmanager
    def running(
        self, key: str, images: Counter[Priority], size: int, started: float
    ) -> Iterator[None]:
        """Count a batch as on the thread while the context is open."""
        self._batch = _Running(key=key, images=images, size=size, started=started)
        try:
            yield
        finally:
            self._batch = None

    def expected_s(self, key: str, images: int, priority: Priority, now: float) -> float:
        """How long until so many more images are answered, their own batches included, seconds.

        Args:
            key: Their key.
            images: Number of them.
            priority: Theirs; bulk is not ahead of interactive images.
            now: The time, seconds.
        """
        first = _AHEAD[priority]
        ahead = {name: sum(self._admitted[each][name] for each in first) for name in self.sizes}
        rest_s = 0.0
        if (batch := self._batch) is not None:
            rest_s = max(0.0, self.times.expected_s(batch.key, batch.size) + batch.started - now)
            # Images of the running batch are admitted still; they are not waited for twice.
            running = sum(batch.images[each] for each in first)
            ahead[batch.key] = max(0, ahead[batch.key] - running)
        ahead[key] += images
        return rest_s + sum(self._all_s(each, count) for each, count in ahead.items() if count)

    def _all_s(self, key: str, images: int) -> float:
        full, rest = divmod(images, self.sizes[key][-1])
        return full * self.batch_s(key, self.sizes[key][-1]) + self.batch_s(key, rest)
