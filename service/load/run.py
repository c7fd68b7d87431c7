"""Sends a load to a server and notes how each call ended."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import grpc

from detector.errors import InvalidInputError
from service.call_errors import call_error
from service.load.plan import ClosedLoop, LoadPlan, OpenLoop
from service.load.report import LoadReport, Outcome
from service.results import QuotaExceededError, ServerBusyError
from service.security.credentials import Credentials

__all__ = ["Payload", "load_report", "run_load"]

_DETECT = "/offpath.v1.DetectionService/Detect"
_NOT_SENT = "NOT_SENT"
_NO_CREDENTIALS = Credentials()


class Payload(NamedTuple):
    """One call's request.

    Args:
        data: The serialised message.
        images: Number of images in it.
    """

    data: bytes
    images: int


def load_report(
    address: str,
    payloads: Sequence[Payload],
    plan: LoadPlan,
    *,
    credentials: Credentials = _NO_CREDENTIALS,
) -> LoadReport:
    """Put a load on a server from this process, and say what it met.

    Args:
        address: Where the server is, ``host:port``.
        payloads: What calls send, in turn, at least one.
        plan: The load.
        credentials: What callers show and whom they trust.

    Raises:
        InvalidInputError: If there is nothing to send.
        CredentialsError: If the token would travel in the clear, or a file cannot be read.
    """
    return asyncio.run(run_load(address, payloads, plan, credentials=credentials))


async def run_load(
    address: str,
    payloads: Sequence[Payload],
    plan: LoadPlan,
    *,
    credentials: Credentials = _NO_CREDENTIALS,
) -> LoadReport:
    """As `load_report`, in a running event loop."""
    if not payloads:
        raise InvalidInputError("There should be something to send. Found none.", field="images")
    # Answers stay bytes: to read them is the work of clients, and would only slow the generator.
    async with credentials.async_channel(
        address, [("grpc.max_receive_message_length", -1)]
    ) as channel:
        bare = channel.unary_unary(_DETECT, None, None)  # bytes as they are
        detect = partial(bare, metadata=credentials.metadata)
        sender = _Sender(detect, payloads, plan)
        await sender.run()
    return LoadReport.of(sender.outcomes, plan.seconds)


class _Sender:
    def __init__(
        self, detect: Callable[..., Any], payloads: Sequence[Payload], plan: LoadPlan
    ) -> None:
        self._detect = detect
        self._upcoming = itertools.cycle(payloads)
        self._plan = plan
        self._origin = time.perf_counter() + plan.warm_up_s
        self.outcomes: list[Outcome] = []

    async def run(self) -> None:
        match self._plan.load:
            case ClosedLoop(callers=callers):
                await asyncio.gather(*(self._caller() for _ in range(callers)))
            case OpenLoop() as load:
                await self._arrivals(load)

    async def _caller(self) -> None:
        while (now := self._now()) < self._plan.seconds:
            await self._call(now)

    async def _arrivals(self, load: OpenLoop) -> None:
        start = -self._plan.warm_up_s
        flying: set[asyncio.Task[None]] = set()
        for moment in load.moments():
            due = start + moment
            if due >= self._plan.seconds:
                break
            # Also where it is late: others need their turn, or no answer is ever heard.
            await asyncio.sleep(max(0.0, due - self._now()))
            if len(flying) >= load.most_in_flight:
                now = self._now()
                self.outcomes.append(Outcome(due, now, now, _NOT_SENT, next(self._upcoming).images))
                continue
            task = asyncio.create_task(self._call(due))
            flying.add(task)
            task.add_done_callback(flying.discard)
        await asyncio.gather(*flying)

    async def _call(self, due: float) -> None:
        payload = next(self._upcoming)
        sent = self._now()
        told = False
        try:
            await self._detect(payload.data, timeout=self._plan.timeout_s)
            code = grpc.StatusCode.OK
        except grpc.aio.AioRpcError as error:
            code, told = error.code(), _is_told_to_retry(error)
        self.outcomes.append(Outcome(due, sent, self._now(), code.name, payload.images, told))

    def _now(self) -> float:
        """Seconds since the measurement began; negative in the warm-up."""
        return time.perf_counter() - self._origin


def _is_told_to_retry(error: grpc.aio.AioRpcError) -> bool:
    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        return False
    known = call_error(error, "", tls=False)  # only its kind is asked for
    return isinstance(known, ServerBusyError | QuotaExceededError) and known.retry_after_s > 0
