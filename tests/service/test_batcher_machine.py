"""The batcher in any order of events, on a clock and a thread that only the test moves."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from torch import Tensor

from detector.errors import InvalidInputError
from service.admission import DeadlineError, DrainingError, Priority, QueueFullError
from service.batch_limits import BatchLimits
from service.batch_running import BatchFailedError
from service.batcher import Batcher

SIZES = {"one": (1, 2, 4), "other": (2, 3)}
LIMITS = BatchLimits(
    sizes=SIZES,
    max_delay_s=0.01,
    max_images=16,
    max_bytes=1000,
    bulk_share=0.5,
    bulk_patience_s=0.5,
)
_REFUSALS = (DeadlineError, DrainingError, QueueFullError)


class Clock:
    """Time that stands still; who waits is woken by `advance`."""

    def __init__(self) -> None:
        self.time = 0.0
        self.sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.time

    async def wait(self, event: asyncio.Event, timeout_s: float) -> None:
        due = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.time + timeout_s, due))
        stirred = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait([due, stirred], return_when=asyncio.FIRST_COMPLETED)
        finally:
            due.cancel()
            stirred.cancel()

    def advance(self, seconds: float) -> None:
        self.time += seconds
        for moment, due in self.sleepers:
            if moment <= self.time and not due.done():
                due.set_result(None)


class HeldExecutor(Executor):
    def __init__(self) -> None:
        self.held: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.held.append((future, lambda: fn(*args, **kwargs)))
        return future


@dataclass
class Observer:
    held: int = 0
    dropped_images: Counter[str] = field(default_factory=Counter)

    def pending(self, images: int) -> None:
        self.held = images

    def batch(self, key: str, images: int, seconds: float, result: Any) -> None:
        pass

    def batch_failed(self, key: str) -> None:
        pass

    def waited(self, seconds: float) -> None:
        assert seconds >= 0

    def dropped(self, reason: str) -> None:
        self.dropped_images[reason] += 1


@dataclass
class Call:
    values: list[int]
    key: str
    priority: Priority
    deadline: float
    task: asyncio.Task[list[int]]
    cancelled: bool = False


class BatcherMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock, self.executor, self.observer = Clock(), HeldExecutor(), Observer()
        self.calls: list[Call] = []
        self.owner: dict[int, Call] = {}
        self.analysed: list[int] = []
        self.failed: set[int] = set()
        self.poisoned = False
        self.draining = False
        self.do(self._create)

    async def _create(self) -> None:
        self.batcher: Batcher[Tensor] = Batcher(
            self.analyse,
            limits=LIMITS,
            observer=self.observer,
            clock=self.clock,
            executor=self.executor,
        )
        self.batcher.start()

    def do(self, act: Callable[[], Any]) -> None:
        async def run() -> None:
            found = act()
            if asyncio.iscoroutine(found):
                await found
            for _ in range(30):
                await asyncio.sleep(0)

        self.loop.run_until_complete(run())

    def analyse(self, images: Tensor, key: str) -> Tensor:
        numbers = images.flatten().tolist()
        assert len(numbers) in SIZES[key]
        assert {self.owner[each].key for each in numbers} == {key}
        own = list(dict.fromkeys(numbers))
        assert numbers[len(own) :] == own[-1:] * (len(numbers) - len(own)), "padding"
        assert not set(own) & set(self.analysed), "analysed twice"
        self.analysed += own
        if self.poisoned:
            self.failed |= set(own)
            raise RuntimeError("poisoned")
        return images

    async def _call(self, values: list[int], key: str, priority: Priority, deadline: float) -> Any:
        with self.batcher.admit(
            key, images=len(values), size_bytes=1, deadline=deadline, priority=priority
        ):
            rows = await self.batcher.submit(
                [torch.tensor([each]) for each in values], key, deadline=deadline, priority=priority
            )
        return [int(row.batch[row.index]) for row in rows]

    @rule(
        count=st.integers(1, 10),
        key=st.sampled_from(sorted(SIZES)),
        priority=st.sampled_from(Priority),
        patience=st.sampled_from([math.inf, math.inf, 0.02, 0.3, 2.0]),
    )
    def submit(self, count: int, key: str, priority: Priority, patience: float) -> None:
        def act() -> None:
            values = list(range(len(self.owner), len(self.owner) + count))
            deadline = self.clock.time + patience
            task = asyncio.ensure_future(self._call(values, key, priority, deadline))
            call = Call(values, key, priority, deadline, task)
            self.calls.append(call)
            self.owner.update(dict.fromkeys(values, call))

        self.do(act)

    @precondition(lambda self: any(not call.task.done() for call in self.calls))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from([call for call in self.calls if not call.task.done()]))
        call.cancelled = True
        self.do(call.task.cancel)

    @rule(seconds=st.sampled_from([0.001, 0.011, 0.1, 1.0]))
    def advance(self, seconds: float) -> None:
        self.do(lambda: self.clock.advance(seconds))

    @precondition(lambda self: self.executor.held)
    @rule(fails=st.sampled_from([False, False, False, True]))
    def finish_batch(self, fails: bool) -> None:
        def act() -> None:
            future, work = self.executor.held.pop(0)
            self.poisoned = fails
            try:
                future.set_result(work())
            except RuntimeError as error:
                future.set_exception(error)

        self.do(act)

    @precondition(lambda self: not self.draining and len(self.calls) > 10)
    @rule()
    def refuse_new(self) -> None:
        self.draining = True
        self.do(self.batcher.refuse_new)

    @invariant()
    def every_answer_is_the_callers_own(self) -> None:
        for call in self.calls:
            if not call.task.done():
                continue
            if call.task.cancelled():
                assert call.cancelled
            elif (error := call.task.exception()) is None:
                assert call.task.result() == call.values
            elif isinstance(error, BatchFailedError):
                assert set(call.values) & self.failed, "somebody else's failure"
            elif isinstance(error, InvalidInputError):
                assert call.priority is Priority.BULK
                assert len(call.values) > LIMITS.bulk_share * LIMITS.max_images
            else:
                assert isinstance(error, _REFUSALS)
                assert not isinstance(error, DeadlineError) or call.deadline < math.inf
                assert not isinstance(error, DrainingError) or self.draining

    @invariant()
    def images_of_one_key_and_priority_keep_their_order(self) -> None:
        for key in SIZES:
            for priority in Priority:
                order = [
                    each
                    for each in self.analysed
                    if (self.owner[each].key, self.owner[each].priority) == (key, priority)
                ]
                assert order == sorted(order)

    @invariant()
    def the_queue_holds_the_open_calls_and_no_more_than_its_bounds(self) -> None:
        open_calls = [call for call in self.calls if not call.task.done()]
        assert self.observer.held == sum(len(call.values) for call in open_calls)
        assert self.observer.held <= LIMITS.max_images
        bulk = [len(call.values) for call in open_calls if call.priority is Priority.BULK]
        assert sum(bulk) <= LIMITS.bulk_share * LIMITS.max_images

    @invariant()
    def the_loop_is_alive_and_never_idle_before_work(self) -> None:
        assert not self.batcher.died.is_set()
        assert len(self.executor.held) <= 1

    def teardown(self) -> None:
        for _ in range(4 * len(self.owner) + 4):
            if all(call.task.done() for call in self.calls):
                break
            self.advance(0.011)
            if self.executor.held:
                self.finish_batch(fails=False)
        assert all(call.task.done() for call in self.calls), "a call hangs"
        self.every_answer_is_the_callers_own()
        assert self.observer.held == 0

        async def stop() -> None:
            assert await self.batcher.stop(timeout_s=0)
            await asyncio.gather(*(call.task for call in self.calls), return_exceptions=True)
            await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, "a task is left behind"

        self.loop.run_until_complete(stop())
        self.loop.close()


TestBatcherMachine = BatcherMachine.TestCase
TestBatcherMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
