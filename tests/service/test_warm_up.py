"""Warming up: every size met, those that compute otherwise dropped, the rest timed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import torch
from prometheus_client import CollectorRegistry
from torch import Tensor

from service.admission import Priority
from service.batch_limits import BatchLimits
from service.batch_metrics import BatchMetrics
from service.batcher import Batcher
from service.errors import StartError
from service.warm_up import warm_up

SIZES = {"one": (1, 2, 4), "other": (2, 3, 4), "third": (2,)}
IMAGE = torch.zeros(1)


class Analysis:
    def __init__(self) -> None:
        self.time = 0.0
        self.seen: list[tuple[str, int]] = []

    def now(self) -> float:
        return self.time

    async def wait(self, event: asyncio.Event, timeout_s: float) -> None:
        """Stopping waits for nobody here."""

    def __call__(self, images: Tensor, key: str) -> Tensor:
        self.seen.append((key, len(images)))
        self.time += len(images) * {"one": 0.5, "other": 2.0, "third": 8.0}[key] + 1
        return images


@pytest.fixture
def analysis() -> Analysis:
    return Analysis()


@pytest.fixture
async def batcher(analysis: Analysis) -> AsyncIterator[Batcher[Tensor]]:
    limits = BatchLimits(sizes=SIZES, max_delay_s=0, max_images=9, max_bytes=9)
    batcher = Batcher(
        analysis, limits=limits, observer=BatchMetrics(CollectorRegistry()), clock=analysis
    )
    yield batcher
    await batcher.stop(timeout_s=0)


def digests_of(
    strange: dict[tuple[str, int], frozenset[str]], met: list[tuple[str, int]]
) -> Callable[[str, int], frozenset[str]]:
    def digests(key: str, size: int) -> frozenset[str]:
        met.append((key, size))
        return strange.get((key, size), frozenset({"usual"}))

    return digests


async def test_every_size_is_met_and_both_ends_are_timed(
    batcher: Batcher[Tensor], analysis: Analysis
) -> None:
    met: list[tuple[str, int]] = []
    prices = await warm_up(batcher, IMAGE, digests=digests_of({}, met))
    assert met == [(key, size) for key, sizes in SIZES.items() for size in sizes]
    assert prices == {"one": 3 / 4, "other": 9 / 4, "third": 17 / 2}
    # The line through both ends tells of the size between them too.
    assert batcher.expected_wait_s("one", 2, Priority.INTERACTIVE) == pytest.approx(2.0)


async def test_sizes_that_compute_otherwise_than_the_largest_are_not_used(
    batcher: Batcher[Tensor],
) -> None:
    strange = {
        ("one", 1): frozenset({"other bits"}),
        ("other", 3): frozenset({"usual", "at another place"}),
    }
    await warm_up(batcher, IMAGE, digests=digests_of(strange, []))
    assert batcher.sizes == {"one": (2, 4), "other": (2, 4), "third": (2,)}


async def test_the_largest_size_stays_where_none_agrees_with_it(
    batcher: Batcher[Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    strange = {("one", 4): frozenset({"at one place", "at another"})}
    await warm_up(batcher, IMAGE, digests=digests_of(strange, []))
    assert batcher.sizes["one"] == (4,)
    assert "another place" in caplog.text


async def test_a_batch_that_does_not_fit_into_memory_is_named_with_its_setting(
    batcher: Batcher[Tensor],
) -> None:
    def digests(key: str, size: int) -> frozenset[str]:
        if size == 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return frozenset()

    with pytest.raises(StartError, match=r"batch of 4 images.*OFFPATH_BATCH_SIZES"):
        await warm_up(batcher, IMAGE, digests=digests)
