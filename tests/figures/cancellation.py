"""Whether callers that go away take others with them."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass

import torch

from detector.errors import OffpathError
from service.client import AsyncClient
from service.local_server import LocalServer
from tests.figures.bench import Bench
from tests.figures.figure import Figure
from tests.figures.serving import metric, png, serving

__all__ = ["cancellation"]

_CALLS = 10_000
_CANCELLED = 3_000
_HOPELESS = 1_000
_HOPELESS_S = (0.0005, 0.005)
_AT_ONCE = 64
_PROBES = 128
_MOST_IMAGES = 4
_IMAGES = 256
_TIMEOUT_S = 60.0
_ALL_S = 600.0
_SEED = 0
_HOPELESS_ENDS = {"RequestTimeoutError": "too late", "answered": "in time"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Call:
    """One call: its images, when it gives up, as a share of a usual call, and its deadline."""

    images: tuple[int, ...]
    patience: float | None
    timeout_s: float

    @property
    def hopeless(self) -> bool:
        """Whether no server could answer by its deadline."""
        return self.timeout_s < _TIMEOUT_S


def cancellation(bench: Bench) -> list[Figure]:
    """10 000 calls of one to four PNG images, 64 at a time; many give up or could not succeed.

    Three in ten give up at random moments, spread evenly from the start of a call to one and a half
    times the median duration, so that they meet calls on their way, in the queue, in a batch and
    answered. One in ten has a deadline of a few milliseconds at most. Each of the others has to get
    an answer about its own images: as many detections, of the classes that the same pipeline
    predicts in this process. Afterwards the server has to hold nothing and stop with 0.
    """
    pixels = bench.pixels(bench.splits.test, _IMAGES)
    images = [png(image) for image in pixels.permute(0, 2, 3, 1).numpy()]
    expected = torch.cat([bench.pipeline.analyse(b).predicted for b in pixels.split(64)]).tolist()
    with serving() as server:
        ends = asyncio.run(_run(server, images, expected, _calls()))
        held = metric(server, "offpath_queue_images")
        code = server.stop()
    others = _CALLS - _CANCELLED - _HOPELESS
    failed = others - ends["answered"]
    return [
        Figure(
            name=(
                f"others that fail or hang, {_CANCELLED} of {_CALLS} calls cancelled, "
                f"{_HOPELESS} without hope"
            ),
            target="0",
            measured=(
                f"{failed} of {others}{_list(ends)}; {ends['given up']} given up, "
                f"{ends['answered before']} answered before; {ends['too late']} past a hopeless "
                f"deadline, {ends['in time']} within it; {held:.0f} images left in the server, "
                f"exit code {code}"
            ),
            holds=failed == 0 and not _list(ends) and held == 0 and code == 0,
        )
    ]


def _calls() -> list[_Call]:
    chance = random.Random(_SEED)
    odd = chance.sample(range(_CALLS), _CANCELLED + _HOPELESS)
    impatient, hopeless = set(odd[:_CANCELLED]), set(odd[_CANCELLED:])
    return [
        _Call(
            images=tuple(chance.choices(range(_IMAGES), k=chance.randint(1, _MOST_IMAGES))),
            patience=chance.uniform(0, 1.5) if number in impatient else None,
            timeout_s=chance.uniform(*_HOPELESS_S) if number in hopeless else _TIMEOUT_S,
        )
        for number in range(_CALLS)
    ]


async def _run(
    server: LocalServer, images: list[bytes], expected: list[int], calls: list[_Call]
) -> Counter[str]:
    ends: Counter[str] = Counter()
    durations: list[float] = []
    places = asyncio.Semaphore(_AT_ONCE)

    async def ask(client: AsyncClient, call: _Call) -> str:
        try:
            chosen = [images[i] for i in call.images]
            reply = await client.detect(chosen, timeout_s=call.timeout_s)
        except OffpathError as error:
            return type(error).__name__
        found = [detection.predicted_class for detection in reply.detections]
        return "answered" if found == [expected[i] for i in call.images] else "wrong answer"

    async def measure(client: AsyncClient, call: _Call) -> None:
        async with places:
            started = time.perf_counter()
            await ask(client, call)
            durations.append(time.perf_counter() - started)

    async def make(client: AsyncClient, call: _Call, usual_s: float) -> None:
        async with places:
            if call.hopeless:
                end = await ask(client, call)
                ends[_HOPELESS_ENDS.get(end, f"hopeless {end}")] += 1
                return
            if call.patience is None:
                ends[await ask(client, call)] += 1
                return
            try:
                async with asyncio.timeout(call.patience * usual_s):
                    end = await ask(client, call)
                    ends["answered before" if end == "answered" else f"impatient {end}"] += 1
            except TimeoutError:
                ends["given up"] += 1

    async with AsyncClient(server.address) as client, asyncio.timeout(_ALL_S):
        await asyncio.gather(*(measure(client, call) for call in calls[:_PROBES]))
        usual_s = statistics.median(durations)
        await asyncio.gather(*(make(client, call, usual_s) for call in calls))
    return ends


def _list(ends: Counter[str]) -> str:
    """What calls met that none should have."""
    known = {"answered", "given up", "answered before", "too late", "in time"}
    met = ", ".join(f"{count} {end}" for end, count in ends.items() if end not in known)
    return f" ({met})" if met else ""
