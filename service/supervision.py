"""Readiness follows the batches: a server that cannot analyse says so, and says when it can."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from torch import Tensor

from service.batcher import Batcher
from service.engine import Engine
from service.health import Health

__all__ = ["attend", "supervise"]

_log = logging.getLogger(__name__)


async def attend(engine: Engine, health: Health, died: asyncio.Event, *, retry_s: float) -> None:
    """Let readiness follow the engine that answers, and tell if it can never answer again.

    Args:
        engine: Who answers from now on.
        health: What load balancers ask.
        died: Set where no batch of the engine will be formed any more.
        retry_s: Time between two probes, seconds.
    """
    if not health.is_ready() and engine.is_fit:  # the one before was not
        await health.ready()
    watch = asyncio.create_task(supervise(engine.batcher, health, engine.image, retry_s=retry_s))
    try:
        await engine.batcher.died.wait()
        died.set()
    finally:
        watch.cancel()


async def supervise(
    batcher: Batcher[Any],
    health: Health,
    image: Tensor,
    *,
    retry_s: float,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Turn readiness off where batches fail in a row, and on again once a probe succeeds.

    Callers that come all the same are still answered or told of the failure.

    Args:
        batcher: Whose batches.
        health: What load balancers ask.
        image: The image of the warm-up, analysed again as a probe, uint8 of shape (3, h, w).
        retry_s: Time between two probes, seconds.
        sleep: How time passes.
    """
    key, sizes = next(iter(batcher.sizes.items()))
    while True:
        await batcher.failing.wait()
        await health.failing()
        _log.error("Batches fail in a row: not ready until a probe succeeds")
        while batcher.failing.is_set():
            await sleep(retry_s)
            try:
                await batcher.probe(image, key, sizes[0])
            except Exception:  # noqa: BLE001  # whatever it is, the next probe tells
                _log.exception("The probe failed as well")
            else:
                batcher.recovered()
        _log.info("A probe succeeded: ready again")
        await health.ready()
