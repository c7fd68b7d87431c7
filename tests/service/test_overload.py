"""Twice the load that one core can take, on a clock that only the test moves."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from service.admission import DeadlineError
from service.batch_limits import BatchLimits
from tests.service.test_batcher import Bench, HeldExecutor, settle

_LIMITS = BatchLimits(sizes={"one": (1, 2, 4)}, max_delay_s=0.01, max_images=1000, max_bytes=10_000)
_IMAGE_S = 0.01
_CALL_S = 0.001
_REPLY_S = 0.001
_PATIENCE_S = 1.0


class Core:
    """One core: it handles calls first, writes replies next, and analyses in the time that is left.

    Args:
        noise: A batch takes between 1 and 1 + noise times what its images take.
    """

    def __init__(self, *, noise: float) -> None:
        self.executor = HeldExecutor()
        self.bench = Bench(limits=_LIMITS, executor=self.executor)
        for size in (1, 4):  # as a warm-up finds them, with the core to itself
            self.bench.batcher._work.times.learn("one", size, size * _IMAGE_S)
        self.ends: Counter[str] = Counter()
        self._chance = random.Random(0)
        self._noise = noise
        self._left_s = 0.0

    async def arrive(self) -> None:
        clock = self.bench.clock
        await clock.advance(_CALL_S)
        deadline = clock.now() + _PATIENCE_S
        task = self.bench.call(1, deadline=deadline)
        await settle()
        if task.done():
            assert isinstance(task.exception(), DeadlineError)
            self.ends["refused"] += 1
        else:
            task.add_done_callback(lambda task: self._ended(task, deadline))

    async def work_until(self, moment: float) -> None:
        clock = self.bench.clock
        while (free_s := moment - clock.now()) > 0:
            if not self.executor.held:
                await clock.advance(free_s)
                return
            self._left_s = self._left_s or self._batch_s()
            spent_s = min(free_s, self._left_s)
            self._left_s -= spent_s
            await clock.advance(spent_s)
            if self._left_s <= 1e-9:
                self._left_s = 0.0
                answers = self.bench.observer.held
                self.executor.release()
                await settle()
                await clock.advance(_REPLY_S * (answers - self.bench.observer.held))

    def _batch_s(self) -> float:
        running = self.bench.batcher._work._batch
        assert running is not None
        return running.size * _IMAGE_S * (1 + self._noise * self._chance.random())

    def _ended(self, task: asyncio.Task[object], deadline: float) -> None:
        error = task.exception()
        in_time = self.bench.clock.now() <= deadline
        assert error is None or isinstance(error, DeadlineError)
        self.ends["answered" if error is None and in_time else "late"] += 1


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
async def test_at_twice_the_capacity_hardly_anyone_who_is_let_in_is_late_and_the_core_is_busy(
    noise: float,
) -> None:
    core = Core(noise=noise)
    image_s = _IMAGE_S * (1 + noise / 2)
    gap_s = (image_s + _CALL_S + _REPLY_S) / 2
    calls = 1500
    for index in range(calls):
        await core.work_until(index * gap_s)
        await core.arrive()
    answered = core.ends["answered"]
    for step in range(200):
        await core.work_until((calls + step) * gap_s)
    await core.bench.close()
    # To hear each call, answered or not, is work too: this is what the core has left for answers.
    assert answered >= 0.95 * calls * (gap_s - _CALL_S) / (image_s + _REPLY_S)
    let_in = core.ends["answered"] + core.ends["late"]
    assert let_in + core.ends["refused"] == calls
    assert core.ends["late"] <= 0.01 * let_in
