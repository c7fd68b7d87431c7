"""When a batch is formed, and of whom: the images that have waited longest, and who may still come.

A batch waits for more images only where more were in flight of late, and only while they are heard
of.
"""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from service.admission import Admission
from service.clock import Clock
from service.waiting import Item, Waiting
from service.workload import Workload

__all__ = ["BatchFormer"]

A = TypeVar("A")
_SPARE = 2.0
"""Batches of time that a deadline keeps: a timer that rings late must not make an image late."""
_TIMER_STEP_S = 0.002
"""Event loops wait in whole milliseconds: a shorter wait that took so long was no busy one."""


class BatchFormer(Generic[A]):
    """Forms one batch after the other.

    Args:
        waiting: The images that wait.
        admission: Who is known to come.
        work: Sizes of batch and their times.
        max_delay_s: Longest silence that an incomplete batch waits for more images, seconds.
        clock: Where the time comes from.
    """

    def __init__(
        self,
        waiting: Waiting[A],
        admission: Admission,
        work: Workload,
        *,
        max_delay_s: float,
        clock: Clock,
    ) -> None:
        self._waiting = waiting
        self._admission = admission
        self._work = work
        self._max_delay_s = max_delay_s
        self._clock = clock
        self._expects_more = True
        self._stirred = asyncio.Event()

    def stir(self) -> None:
        """There is news: somebody was admitted, or has submitted images."""
        self._stirred.set()

    def expect_no_more(self) -> None:
        """Nobody new will come: wait for no batch to grow."""
        self._expects_more = False
        self._stirred.set()

    async def form(self) -> tuple[str, list[Item[A]]]:
        """The key whose turn it is, and up to a full batch of its images; none if all have gone."""
        while (key := self._waiting.next_key(self._clock.now())) is None:
            self._stirred.clear()
            await self._stirred.wait()
        await self._gather(key)
        self._admission.forget_peak()
        now = self._clock.now()
        most = self._work.sizes[key][-1]
        count = min(most, self._waiting.count(key))
        ends = now + self._work.batch_s(key, count) + self._work.reply_s(key, count)
        items = self._waiting.take(key, most, now, ends=ends)
        if not items:
            self._work.times.doubt(key)
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
        asked_s = self._max_delay_s
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
        return held < enough and held == len(self._waiting) and self._expects_more
