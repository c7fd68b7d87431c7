"""Dynamic batching: many callers, one inference thread, nobody hurt by anyone else.

Knows neither gRPC nor messages. A caller is first *admitted*, which bounds what the process holds
in images and in bytes, then submits its images and waits. One task forms batches and hands them to
one thread. Each image comes with a key, and a batch holds images of one key only: that of the image
that has waited longest. A batch waits for more images only where more were in flight of late, and
only while they are heard of. Items whose caller went away or whose deadline passed are dropped
when a batch is formed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from detector.errors import OffpathError
from service.admission import Admission, DeadlineError, DrainingError
from service.clock import Clock, MonotonicClock
from service.waiting import Item, Waiting

__all__ = ["BatchFailedError", "BatchLimits", "BatchObserver", "Batcher", "Row"]

R = TypeVar("R")
_log = logging.getLogger(__name__)
_SMOOTHING = 0.2
_TIMER_STEP_S = 0.002
"""Event loops wait in whole milliseconds: a shorter wait that took so long was no busy one."""


class BatchFailedError(OffpathError):
    """The batch that an image was part of could not be analysed."""


class BatchObserver(Protocol):
    """Who is told what the batcher does; the metrics of the service are one."""

    def pending(self, images: int) -> None:
        """So many images are admitted and not yet answered."""

    def batch(self, key: str, images: int, seconds: float) -> None:
        """A batch of so many callers' images of a key was analysed in so many seconds."""

    def waited(self, seconds: float) -> None:
        """An image waited so long for its batch to form."""

    def dropped(self, reason: str) -> None:
        """An image left the queue unanswered, ``cancelled`` or ``expired``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchLimits:
    """The bounds of the batcher.

    Args:
        sizes: Sizes of batch that the network sees, ascending; smaller batches are padded. For
            each key, the key of most callers first.
        max_delay_s: Longest silence that an incomplete batch waits for more images, seconds.
        max_images: Most images admitted and not yet answered.
        max_bytes: Most bytes admitted and not yet answered.
    """

    sizes: Mapping[str, tuple[int, ...]]
    max_delay_s: float
    max_images: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Row(Generic[R]):
    """One image's place in the result of its batch, and how long both took, seconds."""

    batch: R
    index: int
    queue_s: float = 0.0
    analysis_s: float = 0.0


class Batcher(Generic[R]):
    """Gathers images of many callers into batches for one inference thread.

    Args:
        analyse: Turns uint8 images of shape (B, 3, h, w) and their key into a result that has B
            rows or more; called on the inference thread only.
        limits: The bounds.
        observer: Who is told what happens.
        clock: Where the time comes from.
        executor: Where ``analyse`` runs; one thread of its own by default.
    """

    def __init__(
        self,
        analyse: Callable[[Tensor, str], R],
        *,
        limits: BatchLimits,
        observer: BatchObserver,
        clock: Clock | None = None,
        executor: Executor | None = None,
    ) -> None:
        self._analyse = analyse
        self._limits = limits
        self._observer = observer
        self._clock = clock or MonotonicClock()
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="offpath-inference")
        self._waiting: Waiting[Row[R]] = Waiting(limits.sizes, observer.dropped)
        self._admission = Admission(
            max_images=limits.max_images, max_bytes=limits.max_bytes, changed=observer.pending
        )
        self._admitted: Counter[str] = Counter()
        self._batch_s = dict.fromkeys(limits.sizes, 0.0)
        self._draining = False
        self._stirred = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to form batches; needs a running event loop."""
        self._loop = asyncio.get_running_loop().create_task(self._run(), name="offpath-batcher")

    async def warm_up(self, image: Tensor) -> dict[str, float]:
        """Analyse a batch of each size, so that no caller pays for a first time.

        Each size of the first key; of the others the smallest and the largest, as a server with
        a large network has to be up some day.

        Args:
            image: Any image of the network's input size, uint8 of shape (3, h, w).

        Returns:
            For each key what an image costs in a full batch that is not the first one, seconds.
        """
        for place, (key, sizes) in enumerate(self._limits.sizes.items()):
            for size in dict.fromkeys((sizes[0], sizes[-1])) if place else sizes:
                await self._time(image, key, size)
        return {
            key: await self._time(image, key, sizes[-1]) / sizes[-1]
            for key, sizes in self._limits.sizes.items()
        }

    def expected_wait_s(self) -> float:
        """Estimate of how long an image that arrives now waits for the ones before it, seconds."""
        return sum(
            self._batch_s[key] * math.ceil(images / self._limits.sizes[key][-1])
            for key, images in self._admitted.items()
        )

    @contextlib.contextmanager
    def admit(
        self, key: str, *, images: int, size_bytes: int, deadline: float = math.inf
    ) -> Iterator[None]:
        """Hold room for a request from its arrival to its answer.

        Args:
            key: Key of its images, one of those in the limits.
            images: Number of its images.
            size_bytes: What it holds in memory, bytes.
            deadline: When its caller stops to wait, on the batcher's clock, seconds.

        Raises:
            DrainingError: If the server is shutting down.
            QueueFullError: If there is no room.
            DeadlineError: If the deadline passes before its turn can come.
        """
        wait_s = self.expected_wait_s()
        left_s = deadline - self._clock.now()
        if wait_s >= left_s:
            raise DeadlineError(
                f"The deadline should leave time for the queue. Found {max(0.0, left_s):.3f} s "
                f"left and {wait_s:.3f} s of work ahead. Allow more time or try later."
            )
        with self._admission.hold(images=images, size_bytes=size_bytes, expected_wait_s=wait_s):
            self._admitted[key] += images
            self._stirred.set()
            try:
                yield
            finally:
                self._admitted[key] -= images

    def deadline(self, remaining_s: float | None) -> float:
        """The moment, on the batcher's clock, that is so many seconds away; None is never."""
        return math.inf if remaining_s is None else self._clock.now() + remaining_s

    async def submit(
        self, images: Sequence[Tensor], key: str, *, deadline: float = math.inf
    ) -> list[Row[R]]:
        """Wait for the images' analysis; the caller has to be admitted.

        Args:
            images: uint8 images of the network's input size, (3, h, w) each.
            key: The key under which they were admitted.
            deadline: When the caller stops to wait, on the batcher's clock, seconds.

        Returns:
            One row for each image, in their order; they may lie in different batches.

        Raises:
            DeadlineError: If the deadline passed before a batch was formed.
            BatchFailedError: If the analysis of a batch failed.
            DrainingError: If the server stopped before the images' turn.
        """
        loop = asyncio.get_running_loop()
        now = self._clock.now()
        items: list[Item[Row[R]]] = [
            Item(image, now, deadline, loop.create_future()) for image in images
        ]
        self._waiting.add(items, key)
        self._stirred.set()
        if len(items) == 1:  # most calls; gather costs as much as all else here
            return [await items[0].future]
        # gather cancels every future of a cancelled caller and of nobody else.
        return await asyncio.gather(*(item.future for item in items))

    def refuse_new(self) -> None:
        """Admit nothing from now on; what is admitted is still answered."""
        self._draining = True
        self._admission.refuse_new()
        self._stirred.set()

    async def stop(self, *, timeout_s: float) -> bool:
        """Refuse new callers, answer those admitted, end the thread.

        Args:
            timeout_s: Longest wait for the admitted ones, seconds.

        Returns:
            Whether all of them were answered.
        """
        self.refuse_new()
        await self._clock.wait(self._admission.idle, timeout_s)
        finished = self._admission.idle.is_set()
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        _abandon(self._waiting.take_all())
        self._executor.shutdown(wait=finished, cancel_futures=True)
        return finished

    async def _run(self) -> None:
        while True:
            key, items = await self._form_batch()
            if items:
                await self._process(key, items)

    async def _form_batch(self) -> tuple[str, list[Item[Row[R]]]]:
        """The key of the oldest image, and up to a full batch of its images."""
        while (key := self._waiting.oldest(self._clock.now())) is None:
            self._stirred.clear()
            await self._stirred.wait()
        await self._gather(key)
        self._admission.forget_peak()
        now = self._clock.now()
        items = self._waiting.take(key, self._limits.sizes[key][-1], now)
        for item in items:
            self._observer.waited(now - item.arrived)
        return key, items

    async def _gather(self, key: str) -> None:
        """Wait for the callers that are known, while there is news of them and nobody else waits.

        Callers that were just answered tend to come back together: a batch that starts without
        them leaves them to the next one, and both are small. Never longer than a batch takes, as
        the wait would cost more than it gives, nor into the time that a deadline leaves a batch.
        Where images of another key wait, they would pay: who comes back meets the next batch.
        """
        enough = min(self._limits.sizes[key][-1], self._admission.peak)
        asked_s = self._limits.max_delay_s
        busy_s = 2 * max(asked_s, _TIMER_STEP_S)
        now = self._clock.now()
        give_up = now + max(asked_s, self._batch_s[key])
        while asked_s and self._may_grow(key, enough):
            due = self._waiting.first_deadline(key) - self._batch_s[key]
            left_s = min(give_up, due) - now
            if left_s <= 0:
                return
            self._stirred.clear()
            await self._clock.wait(self._stirred, min(asked_s, left_s))
            before, now = now, self._clock.now()
            # A wait that took much longer than asked was this thread's own work: nobody was heard.
            if not self._stirred.is_set() and now - before < busy_s:
                return

    def _may_grow(self, key: str, enough: int) -> bool:
        """Whether a batch is short of images, and it would cost nobody else to wait for them."""
        held = self._waiting.count(key)
        return held < enough and held == len(self._waiting) and not self._draining

    async def _process(self, key: str, items: list[Item[Row[R]]]) -> None:
        started = self._clock.now()
        try:
            result = await asyncio.get_running_loop().run_in_executor(
                self._executor, self._analyse_padded, [item.image for item in items], key
            )
        except asyncio.CancelledError:
            _abandon(items)
            raise
        except Exception:  # noqa: BLE001  # it belongs to this batch; the next one has to run
            _log.exception("A batch of %d images could not be analysed", len(items))
            for item in items:
                _fail(item, BatchFailedError("The batch could not be analysed."))
            return
        seconds = self._clock.now() - started
        self._observer.batch(key, len(items), seconds)
        known_s = self._batch_s[key]
        self._batch_s[key] += (seconds - known_s) * (_SMOOTHING if known_s else 1.0)
        for index, item in enumerate(items):
            if not item.future.done():
                item.future.set_result(Row(result, index, started - item.arrived, seconds))

    def _analyse_padded(self, images: list[Tensor], key: str) -> R:
        size = next(size for size in self._limits.sizes[key] if size >= len(images))
        # Padded with an image that is there already: its numbers are as harmless as the rest.
        padding = [images[-1]] * (size - len(images))
        return self._analyse(torch.stack(images + padding), key)

    async def _time(self, image: Tensor, key: str, size: int) -> float:
        """How long a batch of one image over and over takes, seconds."""
        batch = image.expand(size, *image.shape).contiguous()
        started = self._clock.now()
        await asyncio.get_running_loop().run_in_executor(self._executor, self._analyse, batch, key)
        return self._clock.now() - started


def _abandon(items: Iterable[Item[Row[R]]]) -> None:
    for item in items:
        _fail(item, DrainingError("The server stopped before the image's turn."))


def _fail(item: Item[Row[R]], error: OffpathError) -> None:
    if not item.future.done():
        item.future.set_exception(error)
