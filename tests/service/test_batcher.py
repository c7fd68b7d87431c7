"""The batcher's promises, on a clock that only tests move."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from detector.errors import InvalidInputError
from service.admission import DeadlineError, DrainingError, Priority, QueueFullError
from service.batch_limits import BatchLimits
from service.batch_running import BatchFailedError, Row
from service.batcher import Batcher
from service.clock import MonotonicClock

SIZES = {"one": (1, 2, 4), "other": (1, 2)}
LIMITS = BatchLimits(sizes=SIZES, max_delay_s=0.01, max_images=64, max_bytes=1000)


class FakeClock:
    def __init__(self) -> None:
        self.time = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> float:
        return self.time

    async def wait(self, event: asyncio.Event, timeout_s: float) -> None:
        due = asyncio.Event()
        self._sleepers.append((self.time + timeout_s, due))
        tasks = [asyncio.ensure_future(each.wait()) for each in (event, due)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def advance(self, seconds: float) -> None:
        await settle()
        self.time += seconds
        for moment, due in self._sleepers:
            if moment <= self.time:
                due.set()
        await settle()


class InlineExecutor(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except RuntimeError as error:
            future.set_exception(error)
        return future


class HeldExecutor(Executor):
    """Runs what was submitted only when told to."""

    def __init__(self) -> None:
        self.held: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.held.append((future, lambda: fn(*args, **kwargs)))
        return future

    def release(self) -> None:
        future, work = self.held.pop(0)
        try:
            future.set_result(work())
        except RuntimeError as error:
            future.set_exception(error)


class Recorder:
    def __init__(self) -> None:
        self.batches: list[int] = []
        self.keys: list[str] = []
        self.held = 0
        self.failed = 0
        self.reasons: list[str] = []

    def pending(self, images: int) -> None:
        self.held = images

    def batch(self, key: str, images: int, seconds: float, result: Any) -> None:
        self.batches.append(images)
        self.keys.append(key)

    def batch_failed(self, key: str) -> None:
        self.failed += 1

    def waited(self, seconds: float) -> None:
        assert seconds >= 0

    def dropped(self, reason: str) -> None:
        self.reasons.append(reason)


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


def image(value: int) -> Tensor:
    return torch.full((1,), value)


def fail_on_13(images: Tensor) -> Tensor:
    if 13 in images:
        raise RuntimeError("unlucky")
    return images


class Bench:
    """A batcher with everything around it under control."""

    def __init__(self, limits: BatchLimits = LIMITS, executor: Executor | None = None) -> None:
        self.clock = FakeClock()
        self.observer = Recorder()
        self.seen: list[Tensor] = []
        self.keys: list[str] = []
        self.executor = executor or InlineExecutor()
        self.batcher = Batcher(
            self.analyse,
            limits=limits,
            observer=self.observer,
            clock=self.clock,
            executor=self.executor,
        )
        self.batcher.start()

    def analyse(self, images: Tensor, key: str) -> Tensor:
        self.seen.append(images)
        self.keys.append(key)
        return fail_on_13(images)

    def call(
        self,
        *values: int,
        key: str = "one",
        deadline: float = math.inf,
        priority: Priority = Priority.INTERACTIVE,
    ) -> asyncio.Task[list[Row[Tensor]]]:
        async def call() -> list[Row[Tensor]]:
            with self.batcher.admit(
                key, images=len(values), size_bytes=1, deadline=deadline, priority=priority
            ):
                images = [image(v) for v in values]
                return await self.batcher.submit(images, key, deadline=deadline, priority=priority)

        return asyncio.get_running_loop().create_task(call())

    async def close(self) -> None:
        await self.batcher.stop(timeout_s=0)


def values(rows: list[Row[Tensor]]) -> list[int]:
    return [int(row.batch[row.index]) for row in rows]


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


calls = st.lists(
    st.tuples(
        st.integers(1, 6),  # images
        st.sampled_from([0.0, 0.004, 0.02]),  # time until the next call
        st.sampled_from(["answer", "cancel", "deadline", "fail"]),
        st.sampled_from(["one", "other"]),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(calls=calls)
def test_every_call_gets_its_own_rows_whatever_happens_to_its_batch_mates(
    calls: list[tuple[int, float, str, str]],
) -> None:
    async def test() -> None:
        bench = Bench()
        tasks = []
        number = 100
        owners = {13: {"one", "other"}}
        for count, pause, fate, key in calls:
            wanted = list(range(number, number + count))
            number += count
            owners |= {value: {key} for value in wanted}
            sent = [13] * count if fate == "fail" else wanted
            deadline = bench.clock.now() + 0.001 if fate == "deadline" else math.inf
            task = bench.call(*sent, key=key, deadline=deadline)
            await settle()
            if fate == "cancel":
                task.cancel()
            tasks.append((task, wanted, fate))
            await bench.clock.advance(pause)
        for _ in range(40):
            await bench.clock.advance(0.01)
        failing = any(fate == "fail" for _, _, fate in tasks)
        for task, wanted, fate in tasks:
            assert task.done(), "a call hangs"
            if fate == "answer" and not failing:
                assert values(task.result()) == wanted
            elif task.cancelled():
                assert fate == "cancel"
            elif (error := task.exception()) is not None:
                assert isinstance(error, DeadlineError | BatchFailedError)
                assert fate != "answer" or failing
        for key, batch in zip(bench.keys, bench.seen, strict=True):
            assert len(batch) in SIZES[key]
            assert all(key in owners[int(value)] for value in batch)
        assert bench.observer.held == 0
        await bench.close()

    run(test)


def test_a_full_batch_runs_at_once_and_the_rest_after_the_delay() -> None:
    async def test() -> None:
        bench = Bench()
        task = bench.call(1, 2, 3, 4, 5)
        await settle()
        assert bench.observer.batches == [4]
        await bench.clock.advance(0.009)
        assert bench.observer.batches == [4]
        await bench.clock.advance(0.002)
        assert bench.observer.batches == [4, 1]
        assert values(task.result()) == [1, 2, 3, 4, 5]
        await bench.close()

    run(test)


def test_a_batch_takes_the_key_of_the_oldest_image_and_images_of_that_key_only() -> None:
    async def test() -> None:
        held = HeldExecutor()
        bench = Bench(executor=held)
        first = bench.call(1)
        await settle()
        later = [(2, "other"), (3, "one"), (4, "other"), (5, "other"), (6, "one")]
        calls = []
        for value, key in later:
            calls.append(bench.call(value, key=key))
            await bench.clock.advance(0.001)
        while not all(call.done() for call in (first, *calls)):
            held.release()
            await bench.clock.advance(0.02)
        assert [batch.flatten().tolist() for batch in bench.seen] == [[1], [2, 4], [3, 6], [5]]
        assert bench.keys == bench.observer.keys == ["one", "other", "one", "other"]
        assert [values(call.result()) for call in calls] == [[value] for value, _ in later]
        await bench.close()

    run(test)


def test_an_image_that_nobody_waits_for_gives_its_key_no_turn() -> None:
    async def test() -> None:
        held = HeldExecutor()
        bench = Bench(executor=held)
        bench.call(1)
        await settle()
        gone = bench.call(2, key="other")
        await bench.clock.advance(0.001)
        bench.call(3)
        await bench.clock.advance(0.001)
        last = bench.call(4, key="other")
        await settle()
        gone.cancel()
        while not last.done():
            held.release()
            await bench.clock.advance(0.02)
        assert [batch.flatten().tolist() for batch in bench.seen] == [[1], [3], [4]]
        assert bench.observer.reasons == ["cancelled"]
        await bench.close()

    run(test)


def test_a_batch_does_not_wait_for_more_while_images_of_another_key_wait() -> None:
    async def test() -> None:
        held = HeldExecutor()
        bench = Bench(executor=held)
        bench.call(1, 2, 3, 4)
        await settle()
        bench.call(5)
        await settle()
        bench.call(6, key="other")
        await settle()
        held.release()
        await settle()
        held.release()  # without a moment's wait for the four that may come back
        await settle()
        assert [batch.flatten().tolist() for batch in bench.seen[:2]] == [[1, 2, 3, 4], [5]]
        await bench.clock.advance(0.02)
        held.release()
        await settle()
        await bench.close()

    run(test)


def test_the_expected_wait_counts_the_batches_of_each_key_at_that_keys_price() -> None:
    async def test() -> None:
        bench = Bench()
        for key, price in (("one", 1.0), ("other", 10.0)):
            for size in SIZES[key]:
                bench.batcher._work.times.learn(key, size, price * size)

        def expected(key: str, images: int, priority: Priority = Priority.INTERACTIVE) -> float:
            return bench.batcher.expected_wait_s(key, images, priority)

        assert expected("one", 3) == pytest.approx(4)  # its own batch, padded
        with (
            bench.batcher.admit("one", images=5, size_bytes=1),
            bench.batcher.admit("other", images=2, size_bytes=1, priority=Priority.BULK),
        ):
            assert expected("one", 2) == pytest.approx(4 + 4)  # seven images
            assert expected("other", 1) == pytest.approx(4 + 1 + 10)
            assert expected("other", 1, Priority.BULK) == pytest.approx(4 + 1 + 20 + 10)
        await bench.close()

    run(test)


def test_the_expected_wait_counts_what_is_left_of_the_batch_that_runs() -> None:
    async def test() -> None:
        bench = Bench(executor=(held := HeldExecutor()))
        for size in SIZES["one"]:
            bench.batcher._work.times.learn("one", size, float(size))
        running = bench.call(1, 2, 3, 4)
        await bench.clock.advance(1.5)
        expected = bench.batcher.expected_wait_s("one", 1, Priority.INTERACTIVE)
        assert expected == pytest.approx(2.5 + 1)
        await bench.clock.advance(9)
        overdue = bench.batcher.expected_wait_s("one", 1, Priority.INTERACTIVE)
        assert overdue == pytest.approx(1)
        held.release()
        await running
        await bench.close()

    run(test)


def test_a_lone_caller_does_not_wait_for_others() -> None:
    async def test() -> None:
        bench = Bench()
        for value in (1, 2, 3):
            assert values(await bench.call(value)) == [value]
        assert bench.observer.batches == [1, 1, 1]
        assert bench.clock.now() == 0
        await bench.close()

    run(test)


def test_callers_that_were_answered_together_get_the_time_to_come_back_together() -> None:
    async def test() -> None:
        held = HeldExecutor()
        bench = Bench(executor=held)
        bench.call(1, 2, 3, 4)
        await settle()
        waiting = bench.call(5)
        await settle()
        held.release()
        await settle()
        assert not held.held  # the one that waits could run: the others are given a moment
        back = bench.call(6, 7, 8)
        await settle()
        held.release()
        assert values(await waiting) + values(await back) == [5, 6, 7, 8]
        assert bench.observer.batches == [4, 4]
        await bench.close()

    run(test)


def test_a_batch_waits_as_long_as_callers_are_heard_of_but_no_longer_than_a_batch_takes() -> None:
    async def test() -> None:
        held = HeldExecutor()
        bench = Bench(
            BatchLimits(sizes={"one": (8,)}, max_delay_s=1, max_images=99, max_bytes=99), held
        )
        bench.call(*range(8))
        await settle()
        first = bench.call(8)
        await bench.clock.advance(2.0)  # what a batch takes
        held.release()
        for value in (9, 10):  # the first one has been silent for less than the delay
            await bench.clock.advance(0.9)
            assert not held.held
            bench.call(value)
        await bench.clock.advance(0.3)  # heard of just now, but the batch's own time is over
        held.release()
        await first
        assert bench.observer.batches == [8, 3]
        await bench.close()

    run(test)


def test_a_deadline_is_not_spent_on_waiting_for_others() -> None:
    async def test() -> None:
        held = HeldExecutor()
        bench = Bench(
            BatchLimits(sizes={"one": (8,)}, max_delay_s=9, max_images=99, max_bytes=99), held
        )
        bench.call(*range(8))
        await settle()
        waiting = bench.call(8, deadline=10.5)
        await bench.clock.advance(4.0)  # what a batch takes: two of them are kept free of 10.5
        held.release()
        await settle()
        held.release()
        assert values(await waiting) == [8]
        await bench.close()

    run(test)


def test_silence_while_the_event_loop_was_busy_does_not_count() -> None:
    async def test() -> None:
        held = HeldExecutor()
        bench = Bench(
            BatchLimits(sizes={"one": (4,)}, max_delay_s=1, max_images=99, max_bytes=99), held
        )
        bench.call(1, 2, 3, 4)
        await settle()
        first = bench.call(5)
        await bench.clock.advance(10.0)
        held.release()
        await bench.clock.advance(2.5)  # one step: nobody could be heard in between
        assert not held.held
        second = bench.call(6)
        await bench.clock.advance(1.5)
        held.release()
        assert values(await first) + values(await second) == [5, 6]
        assert bench.observer.batches == [4, 2]
        await bench.close()

    run(test)


@pytest.mark.parametrize("delay_s", [0.0, 1e-4])
async def test_a_short_delay_is_short_on_the_machines_clock(delay_s: float) -> None:
    recorder, waited = Recorder(), []
    recorder.waited = waited.append  # type: ignore[method-assign]

    def slow(images: Tensor, _key: str) -> Tensor:
        time.sleep(0.5)
        return images

    limits = BatchLimits(sizes={"one": (1, 4)}, max_delay_s=delay_s, max_images=9, max_bytes=9)
    batcher: Batcher[Tensor] = Batcher(slow, limits=limits, observer=recorder)
    batcher.start()

    async def call() -> None:
        with batcher.admit("one", images=1, size_bytes=1):
            await batcher.submit([image(1)], "one")

    await asyncio.gather(call(), call())
    await call()  # the other one is known and does not come back
    await batcher.stop(timeout_s=10)
    assert waited[-1] < 0.4  # a batch's own time would be .5


def test_a_batch_is_padded_to_an_allowed_size() -> None:
    async def test() -> None:
        bench = Bench()
        task = bench.call(7, 8, 9)
        await bench.clock.advance(0.02)
        assert [len(batch) for batch in bench.seen] == [4]
        assert values(await task) == [7, 8, 9]
        await bench.close()

    run(test)


def test_a_cancelled_call_leaves_the_queue_before_its_batch_is_formed() -> None:
    async def test() -> None:
        held = HeldExecutor()
        bench = Bench(executor=held)
        bench.call(1)
        await settle()
        gone, stays = bench.call(2), bench.call(3)
        await settle()
        gone.cancel()
        held.release()
        await bench.clock.advance(0.011)
        held.release()
        assert values(await stays) == [3]
        assert [batch.flatten().tolist() for batch in bench.seen] == [[1], [3]]
        assert bench.observer.reasons == ["cancelled"]
        await bench.close()

    run(test)


def test_a_call_cancelled_while_its_batch_runs_leaves_the_others_their_answers() -> None:
    async def test() -> None:
        held = HeldExecutor()
        bench = Bench(executor=held)
        gone, stays = bench.call(1), bench.call(2)
        await bench.clock.advance(0.02)
        gone.cancel()
        await settle()
        held.release()
        assert values(await stays) == [2]
        assert gone.cancelled()
        await bench.close()

    run(test)


def test_a_failed_batch_fails_its_callers_and_the_next_batch_runs() -> None:
    async def test() -> None:
        bench = Bench()
        failing = bench.call(13)
        await bench.clock.advance(0.02)
        with pytest.raises(BatchFailedError) as caught:
            await failing
        assert "unlucky" not in str(caught.value)
        later = bench.call(5)
        await bench.clock.advance(0.02)
        assert values(await later) == [5]
        await bench.close()

    run(test)


def test_a_failed_batch_tells_how_long_it_ran() -> None:
    async def test() -> None:
        held = HeldExecutor()
        bench = Bench(executor=held)
        failing = bench.call(13)
        await bench.clock.advance(0.5)
        held.release()
        with pytest.raises(BatchFailedError) as caught:
            await failing
        assert caught.value.analysis_s == 0.5
        await bench.close()

    run(test)


def test_a_deadline_that_passes_in_the_queue_fails_without_being_analysed() -> None:
    async def test() -> None:
        held = HeldExecutor()
        bench = Bench(executor=held)
        first = bench.call(1, 2, 3, 4)
        await settle()
        late = bench.call(5, deadline=0.5)
        await bench.clock.advance(1.0)
        held.release()
        await first
        await bench.clock.advance(0.011)
        with pytest.raises(DeadlineError):
            await late
        assert bench.observer.reasons == ["expired"]
        await bench.close()

    run(test)


def test_a_deadline_that_the_work_ahead_cannot_meet_fails_on_arrival() -> None:
    async def test() -> None:
        held = HeldExecutor()
        bench = Bench(executor=held)
        first = bench.call(1, 2, 3, 4)
        await bench.clock.advance(1.0)
        held.release()
        await first
        ahead = bench.call(1, 2, 3, 4)
        await settle()
        with pytest.raises(DeadlineError, match="work ahead"):
            await bench.call(5, deadline=bench.clock.now() + 0.5)
        await settle()
        held.release()
        await ahead
        await bench.close()

    run(test)


def test_a_deadline_that_the_calls_own_batch_cannot_meet_fails_on_arrival() -> None:
    async def test() -> None:
        bench = Bench()
        for size in SIZES["one"]:
            bench.batcher._work.times.learn("one", size, float(size))
        with pytest.raises(DeadlineError, match="own batch"):
            # Four for the batch, 1.6 as nothing is known of waits yet, two for the replies.
            await bench.call(1, 2, 3, deadline=7.5)
        assert not bench.seen
        assert values(await bench.call(1, 2, 3, deadline=7.7)) == [1, 2, 3]
        await bench.close()

    run(test)


def test_an_estimate_that_is_too_long_does_not_turn_callers_away_for_ever() -> None:
    async def test() -> None:
        bench = Bench()
        for size in SIZES["one"]:
            bench.batcher._work.times.learn("one", size, 100.0)
        refused = 0
        while True:
            (outcome,) = await asyncio.gather(bench.call(1, deadline=1.0), return_exceptions=True)
            if not isinstance(outcome, DeadlineError):
                break
            refused += 1
        assert 10 < refused < 100
        assert values(outcome) == [1]
        assert bench.batcher.expected_wait_s("one", 1, Priority.INTERACTIVE) < 1
        await bench.close()

    run(test)


def test_an_image_whose_batch_would_end_after_its_deadline_is_not_analysed() -> None:
    async def test() -> None:
        held = HeldExecutor()
        bench = Bench(executor=held)
        for size in SIZES["one"]:
            bench.batcher._work.times.learn("one", size, float(size))
        running = bench.call(1, 2, 3, 4)
        await settle()
        late, fine = bench.call(5, deadline=8.0), bench.call(6)
        await bench.clock.advance(6.6)  # a batch that took longer than expected
        held.release()
        await settle()
        held.release()
        assert values(await fine) == [6]
        with pytest.raises(DeadlineError, match="batch"):
            await late
        assert bench.observer.reasons == ["late"]
        assert [batch.flatten().tolist() for batch in bench.seen[1:]] == [[6]]
        await running
        await bench.close()

    run(test)


def test_bulk_holds_its_share_of_the_queue_and_others_find_the_rest() -> None:
    async def test() -> None:
        limits = BatchLimits(
            sizes=SIZES, max_delay_s=0.0, max_images=8, max_bytes=100, bulk_share=0.5
        )
        bench = Bench(limits, HeldExecutor())
        flood = [bench.call(each, priority=Priority.BULK) for each in range(20)]
        await settle()
        refused = [call.exception() for call in flood if call.done()]
        assert len(refused) == 16
        for error in refused:
            assert isinstance(error, QueueFullError)
            assert "of bulk" in str(error)
        interactive = [bench.call(each) for each in range(5)]
        await settle()
        assert [call.done() for call in interactive] == [False] * 4 + [True]
        closing = asyncio.ensure_future(bench.close())
        await bench.clock.advance(1.0)
        await closing
        await asyncio.gather(*flood, *interactive, return_exceptions=True)
        assert bench.observer.held == 0

    run(test)


def test_batches_that_fail_in_a_row_are_told_and_one_that_succeeds_starts_anew() -> None:
    async def test() -> None:
        bench = Bench()
        for value in (13, 13, 5, 13, 13):
            await asyncio.gather(bench.call(value), return_exceptions=True)
        assert not bench.batcher.failing.is_set()
        await asyncio.gather(bench.call(13), return_exceptions=True)
        assert bench.batcher.failing.is_set()
        assert bench.observer.failed == 5
        bench.batcher.recovered()
        assert not bench.batcher.failing.is_set()
        await bench.close()

    run(test)


@pytest.mark.parametrize("fault", ["batch", "waited", "batch_failed"])
def test_a_fault_of_the_batcher_itself_leaves_nobody_waiting(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        held = HeldExecutor()
        bench = Bench(executor=held)

        def broken(*_: object) -> None:
            raise LookupError("a fault")

        first = bench.call(13 if fault == "batch_failed" else 1)
        second = bench.call(2, 3, 4, 5)
        setattr(bench.observer, fault, broken)
        await settle()
        if held.held:
            held.release()
        results = await asyncio.gather(first, second, return_exceptions=True)
        assert [type(result) for result in results] == [BatchFailedError] * 2
        assert bench.batcher.died.is_set()
        assert bench.observer.held == 0
        with pytest.raises(DrainingError):
            await bench.call(6)
        await bench.close()

    run(test)
    assert "No batch will be formed" in caplog.text


@pytest.mark.parametrize(("images", "size_bytes", "named"), [(61, 1, "images"), (1, 990, "bytes")])
def test_what_does_not_fit_in_the_queue_is_refused_with_a_time_to_retry(
    images: int, size_bytes: int, named: str
) -> None:
    async def test() -> None:
        bench = Bench()
        with bench.batcher.admit("one", images=4, size_bytes=20):
            with (
                pytest.raises(QueueFullError, match=named) as caught,
                bench.batcher.admit("one", images=images, size_bytes=size_bytes),
            ):
                pass
            assert caught.value.retry_after_s > 0
        with bench.batcher.admit("other", images=images, size_bytes=size_bytes):
            assert bench.observer.held == images
        assert bench.observer.held == 0
        await bench.close()

    run(test)


@pytest.mark.parametrize("deadline", [math.inf, 0.0])
@pytest.mark.parametrize(
    ("priority", "images", "size_bytes", "most"),
    [
        (Priority.BULK, 4, 51, "50 bytes"),
        (Priority.BULK, 5, 50, "4 images"),
        (Priority.INTERACTIVE, 8, 101, "100 bytes"),
        (Priority.INTERACTIVE, 9, 100, "8 images"),
    ],
)
def test_what_would_not_fit_in_an_empty_queue_is_no_matter_of_time(
    priority: Priority, images: int, size_bytes: int, most: str, deadline: float
) -> None:
    async def test() -> None:
        bench = Bench(
            BatchLimits(sizes=SIZES, max_delay_s=0.0, max_images=8, max_bytes=100, bulk_share=0.5)
        )
        call = {"images": images, "size_bytes": size_bytes, "priority": priority}
        with (
            pytest.raises(InvalidInputError, match=f"{priority.value} .* at most {most}") as caught,
            bench.batcher.admit("one", **call, deadline=deadline),
        ):
            pass
        assert caught.value.field == "images"
        assert bench.observer.held == 0
        await bench.close()

    run(test)


def test_the_largest_call_that_fits_is_admitted() -> None:
    async def test() -> None:
        bench = Bench(
            BatchLimits(sizes=SIZES, max_delay_s=0.0, max_images=8, max_bytes=100, bulk_share=0.5)
        )
        with bench.batcher.admit("one", images=4, size_bytes=50, priority=Priority.BULK):
            assert bench.observer.held == 4
        with bench.batcher.admit("one", images=8, size_bytes=100):
            assert bench.observer.held == 8
        await bench.close()

    run(test)


def test_stopping_answers_the_admitted_and_refuses_the_others() -> None:
    async def test() -> None:
        bench = Bench()
        admitted = bench.call(1)
        await settle()
        stopping = asyncio.ensure_future(bench.batcher.stop(timeout_s=10))
        await settle()
        with pytest.raises(DrainingError):
            await bench.call(2)
        assert await stopping
        assert values(await admitted) == [1]

    run(test)


def test_stopping_without_time_fails_the_calls_that_wait_instead_of_hanging_them() -> None:
    async def test() -> None:
        bench = Bench(executor=HeldExecutor())
        running, waiting = bench.call(1, 2, 3, 4), bench.call(5)
        await bench.clock.advance(0.02)
        stopping = asyncio.ensure_future(bench.batcher.stop(timeout_s=1))
        await bench.clock.advance(2.0)
        assert not await stopping
        for task in (running, waiting):
            with pytest.raises(DrainingError):
                await task

    run(test)


async def test_the_machines_clock_ends_a_wait_by_the_event_or_by_the_time() -> None:
    clock, event = MonotonicClock(), asyncio.Event()
    await clock.wait(event, 0.0)
    event.set()
    before = clock.now()
    await clock.wait(event, 60.0)
    assert clock.now() - before < 30
