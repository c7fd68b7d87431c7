"""Dynamic batching: many callers, one inference thread, nobody hurt by anyone else.

Knows neither gRPC nor messages. A caller is first *admitted*, which bounds what the process holds
in images and in bytes, then submits its images and waits. One task has batches formed, by
`BatchFormer`, and run on one thread, by `BatchRunner`. Each image comes with a key, and a batch
holds images of one key only: that of the image that has waited longest. Items whose caller went
away or whose deadline passed are dropped when a batch is formed, and so are those whose deadline
would pass before it is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

from torch import Tensor

from service.admission import Admission, DeadlineError, Priority
from service.batch_forming import BatchFormer
from service.batch_limits import BatchLimits, BatchObserver
from service.batch_running import BatchFailedError, BatchRunner, Row, abandon
from service.clock import Clock, MonotonicClock
from service.inference_thread import InferenceThread
from service.wait_times import WaitTimes
from service.waiting import Item, Waiting
from service.workload import Workload

__all__ = ["Batcher"]

R = TypeVar("R")
T = TypeVar("T")
_log = logging.getLogger(__name__)


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
        self._clock = clock or MonotonicClock()
        self._work = Workload(limits.sizes)
        # Of each priority: interactive images that come later overtake bulk.
        self._waits = {priority: WaitTimes(self._clock.now) for priority in Priority}
        self._waiting: Waiting[Row[R]] = Waiting(
            limits.sizes, observer.dropped, patience_s=limits.bulk_patience_s
        )
        self._admission = Admission(
            max_images=limits.max_images,
            max_bytes=limits.max_bytes,
            changed=observer.pending,
            bulk_share=limits.bulk_share,
        )
        self._former = BatchFormer(
            self._waiting,
            self._admission,
            self._work,
            max_delay_s=limits.max_delay_s,
            clock=self._clock,
        )
        self._runner = BatchRunner(
            analyse,
            self._work,
            explain=explain,
            observer=observer,
            clock=self._clock,
            executor=executor or InferenceThread(),
            max_failures=limits.max_failures,
        )
        self._running: list[Item[Row[R]]] = []
        self._loop: asyncio.Task[None] | None = None
        self.failing = self._runner.failing
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
        return await self._runner.on_thread(work)

    async def probe(self, image: Tensor, key: str, size: int) -> float:
        """Analyse a batch of one image over and over, and learn from it how long that takes.

        Args:
            image: Any image of the network's input size, uint8 of shape (3, h, w).
            key: Its key.
            size: Size of the batch.

        Returns:
            How long it took, seconds.
        """
        return await self._runner.probe(image, key, size)

    def recovered(self) -> None:
        """Batches can be analysed again."""
        self._runner.recovered()

    def expected_wait_s(self, key: str, images: int, priority: Priority) -> float:
        """How long images that arrive now would wait for their answer, were batches all there is.

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
            InvalidInputError: If there is never so much room.
            DrainingError: If the server is shutting down.
            QueueFullError: If there is no room.
            DeadlineError: If the deadline is likely to pass before its answer.
        """
        self._admission.check_possible(images=images, size_bytes=size_bytes, priority=priority)
        waits = self._waits[priority]
        estimate_s = self.expected_wait_s(key, images, priority)
        reply_s = self._work.reply_s(key, min(images, self._work.sizes[key][-1]))
        wait_s = waits.longest_s(estimate_s) + reply_s
        left_s = deadline - self._clock.now()
        if wait_s >= left_s or left_s <= 0:
            if not self._admission.images:
                self._work.times.doubt(key)
                waits.doubt()
            raise _too_short(left_s, wait_s)
        weight = self._work.weight(key, images, estimate_s)
        with (
            self._admission.hold(
                images=images, size_bytes=size_bytes, expected_wait_s=wait_s, priority=priority
            ),
            self._work.admitted(key, images, priority),
            waits.observed(estimate_s, left_s=left_s - reply_s, weight=weight),
        ):
            self._former.stir()
            yield

    def check_hope(self, deadline: float) -> None:
        """Refuse a call of which nothing else is known, where even the smallest one had no hope.

        Args:
            deadline: When its caller stops to wait, on the batcher's clock, seconds.

        Raises:
            QueueFullError: If there is no room for one image more.
            DeadlineError: If the deadline is likely to pass before the images ahead are answered.
        """
        first = Priority.INTERACTIVE
        ahead_s = self.expected_wait_s(next(iter(self._work.sizes)), 0, first)
        wait_s = self._waits[first].longest_s(ahead_s)
        self._admission.check_not_full(expected_wait_s=wait_s)
        if wait_s >= (left_s := deadline - self._clock.now()):
            raise _too_short(left_s, wait_s)

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
        self._former.stir()
        if len(items) == 1:  # most calls; gather costs as much as all else here
            return [await items[0].future]
        # gather cancels every future of a cancelled caller and of nobody else.
        return await asyncio.gather(*(item.future for item in items))

    def refuse_new(self) -> None:
        """Admit nothing from now on; what is admitted is still answered."""
        self._admission.refuse_new()
        self._former.expect_no_more()

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
        abandon(self._waiting.take_all())
        # Its last batch may still run, and this loop may have calls of other bundles to answer.
        await self._runner.shut_down(wait=finished)
        return finished

    async def _run(self) -> None:
        while True:
            key, self._running = await self._former.form()
            if self._running:
                await self._runner.run(key, self._running)
                self._running = []

    def _ended(self, loop: asyncio.Task[None]) -> None:
        """Let nobody wait for batches that will not come, where a fault ended the loop."""
        if loop.cancelled():
            return
        _log.critical("No batch will be formed any more", exc_info=loop.exception())
        self.died.set()
        self._admission.refuse_new()
        for item in (*self._running, *self._waiting.take_all()):
            item.fail(BatchFailedError("The batcher has ended."))


def _too_short(left_s: float, wait_s: float) -> DeadlineError:
    return DeadlineError(
        "The deadline should leave time for the queue and the images' own batch. Found "
        f"{max(0.0, left_s):.3f} s left and {wait_s:.3f} s of work ahead. "
        "Allow more time or try later."
    )
