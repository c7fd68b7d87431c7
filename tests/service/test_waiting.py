"""Who gets into the next batch: interactive images first, bulk in what is left, nobody never."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import torch

from service.admission import DeadlineError, Priority
from service.waiting import Item, Waiting

BULK, INTERACTIVE = Priority.BULK, Priority.INTERACTIVE
PATIENCE_S = 5.0

Make = Callable[..., Item[int]]


@pytest.fixture
async def make() -> Make:
    loop = asyncio.get_running_loop()

    def make(arrived: float, priority: Priority = INTERACTIVE, deadline: float = 1e9) -> Item[int]:
        return Item(torch.zeros(1), arrived, deadline, loop.create_future(), priority)

    return make


@pytest.fixture
def dropped() -> list[str]:
    return []


@pytest.fixture
def waiting(dropped: list[str]) -> Waiting[int]:
    return Waiting(("a", "b"), dropped.append, patience_s=PATIENCE_S)


async def test_bulk_fills_what_interactive_images_leave_of_a_batch(
    waiting: Waiting[int], make: Make
) -> None:
    bulk = [make(time, BULK) for time in (0.0, 0.1, 0.2)]
    others = [make(time) for time in (0.3, 0.4)]
    waiting.add([*bulk, *others], "a")
    assert waiting.take("a", 4, 1.0, ends=1.0) == [*others, *bulk[:2]]
    assert waiting.take("a", 4, 1.0, ends=1.0) == bulk[2:]


async def test_an_interactive_image_decides_the_key_however_long_bulk_of_another_has_waited(
    waiting: Waiting[int], make: Make
) -> None:
    waiting.add([make(0.0, BULK)], "a")
    assert waiting.next_key(1.0) == "a"
    waiting.add([make(0.9)], "b")
    assert waiting.next_key(1.0) == "b"
    assert waiting.next_key(PATIENCE_S + 1) == "b"  # overdue, and others have not had their share


@pytest.mark.parametrize("key", ["a", "b"])
async def test_bulk_that_is_overdue_gets_one_batch_in_eight_and_no_more(
    waiting: Waiting[int], make: Make, key: str
) -> None:
    now = 2 * PATIENCE_S
    waiting.add([make(0.0, BULK) for _ in range(100)], key)
    waiting.add([make(now) for _ in range(100)], "a")
    turns = []
    for _ in range(24):
        chosen = waiting.next_key(now)
        assert chosen is not None
        items = waiting.take(chosen, 2, now, ends=now)
        turns.append(items[0].priority)
    assert turns == ([INTERACTIVE] * 7 + [BULK]) * 3


async def test_bulk_that_is_served_in_passing_does_not_starve_older_bulk_of_another_key(
    waiting: Waiting[int], make: Make
) -> None:
    now = 2 * PATIENCE_S
    old = make(0.0, BULK)
    waiting.add([old], "b")
    for _ in range(8):
        waiting.add([make(now), make(now, BULK)], "a")
        key = waiting.next_key(now)
        assert key is not None
        if old in waiting.take(key, 2, now, ends=now):
            return
    pytest.fail("the older image never got its turn")


async def test_an_image_whose_batch_would_end_too_late_leaves_and_makes_room_for_the_next(
    waiting: Waiting[int], make: Make, dropped: list[str]
) -> None:
    late, fine = make(0.0, deadline=1.5), make(0.1, deadline=2.5)
    waiting.add([late, fine], "a")
    assert waiting.take("a", 1, 1.0, ends=2.0) == [fine]
    assert dropped == ["late"]
    assert isinstance(late.future.exception(), DeadlineError)
