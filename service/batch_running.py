"""What happens to a batch: padded, analysed on the inference thread, and told to its callers."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor

from detector.errors import OffpathError
from service.admission import DrainingError
from service.batch_limits import BatchObserver
from service.clock import Clock
from service.waiting import Item
from service.workload import Workload

__all__ = ["BatchFailedError", "BatchRunner", "Row", "abandon"]

R = TypeVar("R")
T = TypeVar("T")
_log = logging.getLogger(__name__)


class BatchFailedError(OffpathError):
    """The batch that an image was part of could not be analysed.

    Args:
        message: What happened.
        analysis_s: How long it ran before it failed, seconds; None where it did not run.
    """

    def __init__(self, message: str, *, analysis_s: float | None = None) -> None:
        super().__init__(message)
        self.analysis_s = analysis_s


@dataclass(frozen=True, slots=True)
class Row(Generic[R]):
    """One image's place in the result of its batch, and how long both took, seconds."""

    batch: R
    index: int
    queue_s: float = 0.0
    analysis_s: float = 0.0


class BatchRunner(Generic[R]):
    """Runs one batch after the other; one that fails concerns nobody but its callers.

    Args:
        analyse: Turns uint8 images of shape (B, 3, h, w) and their key into a result that has B
            rows or more; called on the inference thread only.
        explain: Adds to a result why some of its rows came out so; called behind ``analyse``, for
            the rows whose callers ask, and not at all where none does.
        work: Sizes of batch, and the times that are learnt.
        observer: Who is told what happens.
        clock: Where the time comes from.
        executor: The inference thread.
        max_failures: Batches that fail in a row before the runner is taken for broken.
    """

    def __init__(
        self,
        analyse: Callable[[Tensor, str], R],
        work: Workload,
        *,
        explain: Callable[[R, Sequence[int]], R] | None,
        observer: BatchObserver[R],
        clock: Clock,
        executor: Executor,
        max_failures: int,
    ) -> None:
        self._analyse = analyse
        self._explain = explain
        self._work = work
        self._observer = observer
        self._clock = clock
        self._executor = executor
        self._max_failures = max_failures
        self._failures = 0
        self.failing = asyncio.Event()
        """Set where batches failed in a row; `recovered` clears it."""

    def recovered(self) -> None:
        """Batches can be analysed again."""
        self._failures = 0
        self.failing.clear()

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

    async def run(self, key: str, items: list[Item[Row[R]]]) -> None:
        """Analyse a batch and answer its callers, with a row or with what went wrong.

        Args:
            key: The batch's key.
            items: Its images, at least one and at most a full batch.
        """
        size = self._work.padded(key, len(items))
        started = self._clock.now()
        for item in items:
            self._observer.waited(started - item.arrived)
        try:
            with self._work.running(key, Counter(i.priority for i in items), size, started):
                work = partial(self._analyse_padded, list(items), size, key)
                result, unexplained = await self.on_thread(work)
        except asyncio.CancelledError:
            abandon(items)
            raise
        except Exception:  # noqa: BLE001  # it belongs to this batch; the next one has to run
            _log.exception("A batch of %d images could not be analysed", len(items))
            self._fail(key, items, self._clock.now() - started)
        else:
            for item in items:
                if item.explained and unexplained:
                    item.fail(BatchFailedError("The image could not be explained."))
            self._answer(key, items, size, started, result)

    async def shut_down(self, *, wait: bool) -> None:
        """End the thread.

        Args:
            wait: Whether to wait for the batch that runs.
        """
        await asyncio.to_thread(self._executor.shutdown, wait=wait, cancel_futures=True)

    def _answer(
        self, key: str, items: list[Item[Row[R]]], size: int, started: float, result: R
    ) -> None:
        seconds = self._clock.now() - started
        self._failures = 0
        self._work.times.learn(key, size, seconds)
        self._observer.batch(key, len(items), seconds, result)
        for index, item in enumerate(items):
            if not item.future.done():
                item.future.set_result(Row(result, index, started - item.arrived, seconds))

    def _fail(self, key: str, items: list[Item[Row[R]]], ran_s: float) -> None:
        for item in items:
            item.fail(BatchFailedError("The batch could not be analysed.", analysis_s=ran_s))
        self._failures += 1
        self._observer.batch_failed(key)
        if self._failures >= self._max_failures:
            self.failing.set()

    def _analyse_padded(self, items: list[Item[Row[R]]], size: int, key: str) -> tuple[R, bool]:
        """The result, and whether those who asked for explanations get none."""
        images = [item.image for item in items]
        # Padded with an image that is there already: its numbers are as harmless as the rest.
        padding = [images[-1]] * (size - len(images))
        result = self._analyse(torch.stack(images + padding), key)
        asked = [row for row, item in enumerate(items) if item.explained]
        if self._explain is None or not asked:
            return result, False
        try:
            return self._explain(result, asked), False
        except Exception:  # noqa: BLE001  # it belongs to those who asked; the others have verdicts
            _log.exception("%d images of a batch of %d could not be explained", len(asked), size)
            return result, True


def abandon(items: Iterable[Item[Row[R]]]) -> None:
    """Tell those who still wait for images that their turn will not come."""
    for item in items:
        item.fail(DrainingError("The server stopped before the image's turn."))
