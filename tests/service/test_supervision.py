"""Readiness that follows the batches, on a clock that only the test moves."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import torch

from service.batcher import Batcher
from service.health import Health
from service.supervision import supervise


class FakeBatcher:
    sizes = {"one": (2, 4)}  # noqa: RUF012  # as the batcher's own

    def __init__(self, outcomes: list[bool]) -> None:
        self.failing = asyncio.Event()
        self.outcomes = outcomes
        self.probes: list[tuple[str, int]] = []

    async def probe(self, image: Any, key: str, size: int) -> float:
        self.probes.append((key, size))
        if not self.outcomes.pop(0):
            raise RuntimeError("still broken")
        return 0.1

    def recovered(self) -> None:
        self.failing.clear()


class FakeHealth:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.is_ready = asyncio.Event()

    async def ready(self) -> None:
        self.told.append("ready")
        self.is_ready.set()

    async def failing(self) -> None:
        self.told.append("not ready")


async def test_a_server_whose_batches_fail_is_not_ready_until_a_probe_succeeds() -> None:
    batcher, health, slept = FakeBatcher([False, False, True]), FakeHealth(), []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    watch = asyncio.create_task(
        supervise(
            cast("Batcher[Any]", batcher),
            cast("Health", health),
            torch.zeros(3, 1, 1),
            retry_s=7.0,
            sleep=sleep,
        )
    )
    await asyncio.sleep(0)
    assert health.told == []
    batcher.failing.set()
    await health.is_ready.wait()
    assert health.told == ["not ready", "ready"]
    assert batcher.probes == [("one", 2)] * 3
    assert slept == [7.0] * 3
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
