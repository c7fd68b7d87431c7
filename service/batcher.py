"""Dynamic batching: many callers, one inference thread, nobody hurt by anyone else.

Knows neither gRPC nor messages. A caller is first *admitted*, which bounds what the process holds
in images and in bytes, then submits its images and waits. One task forms batches and hands them to
one thread. A batch waits for more images only where more were in flight of late, and only while
they are heard of. Items whose caller went away or whose deadline passed are dropped when a
batch is formed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from detector.errors import OffpathError
from service.admission import Admission, DeadlineError, DrainingError
from service.clock import Clock, MonotonicClock

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

    def batch(self, images: int, seconds: float) -> None:
        """A batch of so many callers' images was analysed in so many seconds."""

    def waited(self, seconds: float) -> None:
        """An image waited so long for its batch to form."""

    def dropped(self, reason: str) -> None:
        """An image left the queue unanswered, ``cancelled`` or ``expired``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchLimits:
    """The bounds of the batcher.

    Args:
        sizes: Sizes of batch that the network sees, ascending; smaller batches are padded.
        max_delay_s: Longest silence that an incomplete batch waits for more images, seconds.
        max_images: Most images admitted and not yet answered.
        max_bytes: Most bytes admitted and not yet answered.
    """

    sizes: tuple[int, ...]
    max_delay_s: float
    max_images: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Row(Generic[R]):
    """One image's place in the result of its batch."""

    batch: R
    index: int


@dataclass(frozen=True, slots=True)
class _Item(Generic[R]):
    image: Tensor  # uint8 (3, h, w)
    arrived: float
    deadline: float
    future: asyncio.Future[Row[R]]


class Batcher(Generic[R]):
    """Gathers images of many callers into batches for one inference thread.

    Args:
        analyse: Turns uint8 images of shape (B, 3, h, w) into a result that has B rows or more;
            called on the inference thread only.
        limits: The bounds.
        observer: Who is told what happens.
        clock: Where the time comes from.
        executor: Where ``analyse`` runs; one thread of its own by default.
    """

    def __init__(
        self,
        analyse: Callable[[Tensor], R],
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
        self._queue: deque[_Item[R]] = deque()
        self._admission = Admission(
            max_images=limits.max_images, max_bytes=limits.max_bytes, changed=observer.pending
        )
        self._batch_s = 0.0
        self._draining = False
        self._stirred = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to form batches; needs a running event loop."""
        self._loop = asyncio.get_running_loop().create_task(self._run(), name="offpath-batcher")

    async def warm_up(self, image: Tensor) -> None:
        """Analyse a batch of each size, so that no caller pays for a first time.

        Args:
            image: Any image of the network's input size, uint8 of shape (3, h, w).
        """
        loop = asyncio.get_running_loop()
        for size in self._limits.sizes:
            batch = image.expand(size, *image.shape).contiguous()
            await loop.run_in_executor(self._executor, self._analyse, batch)

    def expected_wait_s(self) -> float:
        """Estimate of how long an image that arrives now waits for the ones before it, seconds."""
        return self._batch_s * math.ceil(self._admission.images / self._limits.sizes[-1])

    @contextlib.contextmanager
    def admit(self, *, images: int, size_bytes: int, deadline: float = math.inf) -> Iterator[None]:
        """Hold room for a request from its arrival to its answer.

        Args:
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
            self._stirred.set()
            yield

    def deadline(self, remaining_s: float | None) -> float:
        """The moment, on the batcher's clock, that is so many seconds away; None is never."""
        return math.inf if remaining_s is None else self._clock.now() + remaining_s

    async def submit(self, images: Sequence[Tensor], *, deadline: float = math.inf) -> list[Row[R]]:
        """Wait for the images' analysis; the caller has to be admitted.

        Args:
            images: uint8 images of the network's input size, (3, h, w) each.
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
        items: list[_Item[R]] = [
            _Item(image, now, deadline, loop.create_future()) for image in images
        ]
        self._queue.extend(items)
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
        self._abandon(self._queue)
        self._queue.clear()
        self._executor.shutdown(wait=finished, cancel_futures=True)
        return finished

    async def _run(self) -> None:
        while True:
            items = await self._form_batch()
            if items:
                await self._process(items)

    async def _form_batch(self) -> list[_Item[R]]:
        while not self._queue:
            self._stirred.clear()
            await self._stirred.wait()
        await self._gather()
        self._admission.forget_peak()
        return self._take()

    async def _gather(self) -> None:
        """Wait for the callers that are known, while there is news of them.

        Callers that were just answered tend to come back together: a batch that starts without
        them leaves them to the next one, and both are small. Never longer than a batch takes, as
        the wait would cost more than it gives, nor into the time that a deadline leaves a batch.
        """
        enough = min(self._limits.sizes[-1], self._admission.peak)
        asked_s = self._limits.max_delay_s
        busy_s = 2 * max(asked_s, _TIMER_STEP_S)
        now = self._clock.now()
        give_up = now + max(asked_s, self._batch_s)
        while asked_s and len(self._queue) < enough and not self._draining:
            due = min(item.deadline for item in self._queue) - self._batch_s
            left_s = min(give_up, due) - now
            if left_s <= 0:
                return
            self._stirred.clear()
            await self._clock.wait(self._stirred, min(asked_s, left_s))
            before, now = now, self._clock.now()
            # A wait that took much longer than asked was this thread's own work: nobody was heard.
            if not self._stirred.is_set() and now - before < busy_s:
                return

    def _take(self) -> list[_Item[R]]:
        """Up to a full batch of items that somebody still waits for."""
        now = self._clock.now()
        items: list[_Item[R]] = []
        while self._queue and len(items) < self._limits.sizes[-1]:
            item = self._queue.popleft()
            if item.future.done():
                self._observer.dropped("cancelled")
            elif item.deadline <= now:
                self._observer.dropped("expired")
                item.future.set_exception(DeadlineError("The deadline passed in the queue."))
            else:
                self._observer.waited(now - item.arrived)
                items.append(item)
        return items

    async def _process(self, items: list[_Item[R]]) -> None:
        started = self._clock.now()
        try:
            result = await asyncio.get_running_loop().run_in_executor(
                self._executor, self._analyse_padded, [item.image for item in items]
            )
        except asyncio.CancelledError:
            self._abandon(items)
            raise
        except Exception:  # noqa: BLE001  # it belongs to this batch; the next one has to run
            _log.exception("A batch of %d images could not be analysed", len(items))
            for item in items:
                _fail(item, BatchFailedError("The batch could not be analysed."))
            return
        seconds = self._clock.now() - started
        self._observer.batch(len(items), seconds)
        self._batch_s += (seconds - self._batch_s) * (_SMOOTHING if self._batch_s else 1.0)
        for index, item in enumerate(items):
            if not item.future.done():
                item.future.set_result(Row(result, index))

    def _analyse_padded(self, images: list[Tensor]) -> R:
        size = next(size for size in self._limits.sizes if size >= len(images))
        # Padded with an image that is there already: its numbers are as harmless as the rest.
        padding = [images[-1]] * (size - len(images))
        return self._analyse(torch.stack(images + padding))

    def _abandon(self, items: Sequence[_Item[R]] | deque[_Item[R]]) -> None:
        for item in items:
            _fail(item, DrainingError("The server stopped before the image's turn."))


def _fail(item: _Item[R], error: OffpathError) -> None:
    if not item.future.done():
        item.future.set_exception(error)
