"""Queries out of thin air, and a clock that only tests move."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
import pytest

from service.campaigns import QueryHasher

GATES = 200
SIDE = 8


@dataclass
class StoppedClock:
    time: float = 1000.0

    def now(self) -> float:
        return self.time

    async def wait(self, event: asyncio.Event, timeout_s: float) -> None:
        raise AssertionError("Nothing here waits.")


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def hasher() -> QueryHasher:
    return QueryHasher(gates=GATES, height=SIDE, width=SIDE, key=b"key")


class Variations:
    """Images that are nearly identical: one path and one thumbnail, all pixels different."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self.bits = self._rng.random(GATES) < 0.5
        self._base = self._rng.integers(60, 190, (3, SIDE, SIDE))

    def __call__(self) -> tuple[np.ndarray, np.ndarray]:
        noise = self._rng.integers(-2, 3, self._base.shape)
        return self.bits, (self._base + noise).astype(np.uint8)

    def many(self, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return [self() for _ in range(count)]


@pytest.fixture
def variations() -> Variations:
    return Variations()


@pytest.fixture
def strangers() -> list[Variations]:
    """Makers of images that have nothing to do with each other."""
    return [Variations(seed) for seed in range(100, 140)]
