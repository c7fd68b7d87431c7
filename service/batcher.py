"""Dynamic batching: many callers, one inference thread, nobody hurt by anyone else.

Knows neither gRPC nor messages. A caller is first *admitted*, which bounds what the process holds
in images and in bytes, then submits its images and waits. One task forms batches and hands them to
one thread. Each image comes with a key, and a batch holds images of one key only: that of the image
that has waited longest. A batch waits for more images only where more were in flight of late, and
only while they are heard of. Items whose caller went away or whose deadline passed are dropped
when a batch is formed, and so are those whose deadline would pass before it is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor

from detector.errors import OffpathError
from service.admission import Admission, DeadlineError, DrainingError, Priority
from service.batch_limits import BatchLimits, BatchObserver
from service.clock import Clock, MonotonicClock
from service.inference_thread import InferenceThread
from service.waiting import Item, Waiting
from service.workload import Workload

__all__ = ["BatchFailedError", "Batcher", "Row"]

R = TypeVar("R")
T = TypeVar("T")
_SPARE = 2.0
"""Batches of time that a deadline keeps: a timer that rings late must not make an image late."""
_log = logging.getLogger(__name__)
_TIMER_STEP_S = 0.002
"""Event loops wait in whole milliseconds: a shorter wait that took so long was no busy one."""


class BatchFailedError(OffpathError):
    """The batch that an image was part of could not be analysed."""


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
        explain: Adds to a result why some of its rows came out so; called behind ``analyse``, for
            the rows whose callers ask, and not at all where none does.
        clock: Where the time comes from.
        executor: Where ``analyse`` runs; one thread of its own by default.
    """

    def __init__(
        self,
        analyse: Callable[[Tensor, str], R],
        *,
        limits: BatchLimits,
        observer: BatchObserver[R],
        explain: Callable[[R, Sequence[int]], R] | None = None,
        clock: Clock | None = None,
        executor: Executor | None = None,
    ) -> None:
        self._analyse = analyse
        self._explain = explain
        self._limits = limits
        self._observer = observer
        self._clock = clock or MonotonicClock()
        self._executor = executor or InferenceThread()
        self._waiting: Waiting[Row[R]] = Waiting(
            limits.sizes, observer.dropped, patience_s=limits.bulk_patience_s
        )
        self._admission = Admission(
            max_images=limits.max_images,
            max_bytes=limits.max_bytes,
            changed=observer.pending,
            bulk_share=limits.bulk_share,
        )
        self._work = Workload(limits.sizes)
        self._running: list[Item[Row[R]]] = []
        self._failures = 0
        self._draining = False
        self._stirred = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self.failing = asyncio.Event()
        """Set where batches failed in a row; `recovered` clears it."""
        self.died = asyncio.Event()
        """Set where no batch will be formed any more, by a fault of the batcher itself."""

    def start(self) -> None:
        """Begin to form batches; needs a running event loop."""
        self._loop = asyncio.get_running_loop().create_task(self._run(), name="offpath-batcher")
        self._loop.add_done_callback(self._ended)

    @property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Sizes of batch of each key that the network sees."""
        return dict(self._work.sizes)

    def restrict(self, key: str, sizes: tuple[int, ...]) -> None:
        """Use no other sizes of batch for a key from now on.

        Args:
            key: The key.
            sizes: Some of its sizes, ascending, the largest among them.
        """
        self._work.sizes[key] = sizes

    async def on_thread(self, work: Callable[[], T]) -> T:
        """Run something where batches are analysed, between two of them."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def probe(self, image: Tensor, key: str, size: int) -> float:
        """Analyse a batch of one image over and over, and learn from it how long that takes.

        Args:
            image: Any image of the network's input size, uint8 of shape (3, h, w).
            key: Its key.
            size: Size of the batch.

        Returns:
            How long it took, seconds.
        """
        batch = image.expand(size, *image.shape).contiguous()
        started = self._clock.now()
        await self.on_thread(lambda: self._analyse(batch, key))
        seconds = self._clock.now() - started
        self._work.times.learn(key, size, seconds)
        return seconds

    def recovered(self) -> None:
        """Batches can be analysed again."""
        self._failures = 0
        self.failing.clear()

    def expected_wait_s(self, key: str, images: int, priority: Priority) -> float:
        """How long images that arrive now are likely to wait for their answer, seconds.

        Args:
            key: Their key.
            images: Number of them.
            priority: Theirs; bulk does not count as ahead of interactive images.
        """
        return self._work.expected_s(key, images, priority, self._clock.now())

    @contextlib.contextmanager
    def admit(
        self,
        key: str,
        *,
        images: int,
        size_bytes: int,
        deadline: float = math.inf,
        priority: Priority = Priority.INTERACTIVE,
    ) -> Iterator[None]:
        """Hold room for a request from its arrival to its answer.

        Args:
            key: Key of its images, one of those in the limits.
            images: Number of its images.
            size_bytes: What it holds in memory, bytes.
            deadline: When its caller stops to wait, on the batcher's clock, seconds.
            priority: Who goes first.

        Raises:
            DrainingError: If the server is shutting down.
            QueueFullError: If there is no room.
            DeadlineError: If the deadline is likely to pass before its answer.
        """
        wait_s = self.expected_wait_s(key, images, priority)
        left_s = deadline - self._clock.now()
        if wait_s >= left_s or left_s <= 0:
            if not self._admission.images:
                self._work.times.doubt(key)
            raise DeadlineError(
                "The deadline should leave time for the queue and the images' own batch. Found "
                f"{max(0.0, left_s):.3f} s left and {wait_s:.3f} s of work ahead. "
                "Allow more time or try later."
            )
        with (
            self._admission.hold(
                images=images, size_bytes=size_bytes, expected_wait_s=wait_s, priority=priority
            ),
            self._work.admitted(key, images, priority),
        ):
            self._stirred.set()
            yield

    def deadline(self, remaining_s: float | None) -> float:
        """The moment, on the batcher's clock, that is so many seconds away; None is never."""
        return math.inf if remaining_s is None else self._clock.now() + remaining_s

    async def submit(
        self,
        images: Sequence[Tensor],
        key: str,
        *,
        deadline: float = math.inf,
        priority: Priority = Priority.INTERACTIVE,
        explained: bool = False,
    ) -> list[Row[R]]:
        """Wait for the images' analysis; the caller has to be admitted.

        Args:
            images: uint8 images of the network's input size, (3, h, w) each.
            key: The key under which they were admitted.
            deadline: When the caller stops to wait, on the batcher's clock, seconds.
            priority: The one under which they were admitted.
            explained: Whether the caller wants to know why.

        Returns:
            One row for each image, in their order; they may lie in different batches.

        Raises:
            DeadlineError: If the deadline passed before a batch was formed, or would have before
                the batch was done.
            BatchFailedError: If the analysis of a batch failed.
            DrainingError: If the server stopped before the images' turn.
        """
        if self.died.is_set():
            raise BatchFailedError("The batcher has ended.")
        loop = asyncio.get_running_loop()
        now = self._clock.now()
        items: list[Item[Row[R]]] = [
            Item(image, now, deadline, loop.create_future(), priority, explained)
            for image in images
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
        # Its last batch may still run, and this loop may have calls of other bundles to answer.
        await asyncio.to_thread(self._executor.shutdown, wait=finished, cancel_futures=True)
        return finished

    async def _run(self) -> None:
        while True:
            key, items = await self._form_batch()
            if items:
                await self._process(key, items)
                self._running = []

    def _ended(self, loop: asyncio.Task[None]) -> None:
        """Let nobody wait for batches that will not come, where a fault ended the loop."""
        if loop.cancelled():
            return
        _log.critical("No batch will be formed any more", exc_info=loop.exception())
        self.died.set()
        self._admission.refuse_new()
        for item in (*self._running, *self._waiting.take_all()):
            _fail(item, BatchFailedError("The batcher has ended."))

    async def _form_batch(self) -> tuple[str, list[Item[Row[R]]]]:
        """The key whose turn it is, and up to a full batch of its images."""
        while (key := self._waiting.next_key(self._clock.now())) is None:
            self._stirred.clear()
            await self._stirred.wait()
        await self._gather(key)
        self._admission.forget_peak()
        now = self._clock.now()
        most = self._work.sizes[key][-1]
        ends = now + self._work.batch_s(key, min(most, self._waiting.count(key)))
        self._running = items = self._waiting.take(key, most, now, ends=ends)
        if not items:
            self._work.times.doubt(key)
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
        enough = min(self._work.sizes[key][-1], self._admission.peak)
        batch_s = self._work.batch_s(key, enough)
        asked_s = self._limits.max_delay_s
        busy_s = 2 * max(asked_s, _TIMER_STEP_S)
        now = self._clock.now()
        give_up = now + max(asked_s, batch_s)
        while asked_s and self._may_grow(key, enough):
            due = self._waiting.first_deadline(key) - _SPARE * batch_s
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
        size = self._work.padded(key, len(items))
        started = self._clock.now()
        try:
            with self._work.running(key, Counter(i.priority for i in items), size, started):
                work = partial(self._analyse_padded, list(items), size, key)
                result = await self.on_thread(work)
        except asyncio.CancelledError:
            _abandon(items)
            raise
        except Exception:  # noqa: BLE001  # it belongs to this batch; the next one has to run
            _log.exception("A batch of %d images could not be analysed", len(items))
            for item in items:
                _fail(item, BatchFailedError("The batch could not be analysed."))
            self._count_failure(key)
            return
        seconds = self._clock.now() - started
        self._failures = 0
        self._work.times.learn(key, size, seconds)
        self._observer.batch(key, len(items), seconds, result)
        for index, item in enumerate(items):
            if not item.future.done():
                item.future.set_result(Row(result, index, started - item.arrived, seconds))

    def _count_failure(self, key: str) -> None:
        self._failures += 1
        self._observer.batch_failed(key)
        if self._failures >= self._limits.max_failures:
            self.failing.set()

    def _analyse_padded(self, items: list[Item[Row[R]]], size: int, key: str) -> R:
        images = [item.image for item in items]
        # Padded with an image that is there already: its numbers are as harmless as the rest.
        padding = [images[-1]] * (size - len(images))
        result = self._analyse(torch.stack(images + padding), key)
        asked = [row for row, item in enumerate(items) if item.explained]
        return result if self._explain is None or not asked else self._explain(result, asked)


def _abandon(items: Iterable[Item[Row[R]]]) -> None:
    for item in items:
        _fail(item, DrainingError("The server stopped before the image's turn."))


def _fail(item: Item[Row[R]], error: OffpathError) -> None:
    if not item.future.done():
        item.future.set_exception(error)
