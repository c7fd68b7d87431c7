"""Whatever is sent, it is answered or refused as the sender's fault, and then all is as before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc

from detector.bundle import load_bundle
from service.server import DetectionServer
from tests.figures.mutants import DETECT, INFER, SOUND, mutant

CALLS = 2000
AT_ONCE = 32
ANSWERS = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}


def test_a_mutant_comes_again_from_its_number() -> None:
    assert [mutant(number) for number in range(50)] == [mutant(number) for number in range(50)]


def test_mutants_differ_from_each_other_and_go_to_both_services() -> None:
    mutants = [mutant(number) for number in range(200)]
    assert len(set(mutants)) > 190
    assert {request.method for request in mutants} == {DETECT, INFER}
    # Two accidents may undo each other, and a field may change places with its like.
    assert sum(request in SOUND for request in mutants) < 10


async def send(channel: Any, requests: Iterator[Any], codes: list[Any]) -> None:
    for number, request in requests:
        call = channel.unary_unary(request.method, None, None)(request.data, timeout=60)
        codes.append((await call.code(), number))


async def test_no_mutant_is_more_than_answered_or_refused(make_settings: Any) -> None:
    """Campaigns are observed and nobody has a quota: nothing keeps a mutant from being read."""
    server = await DetectionServer.start(load_bundle(), make_settings(batch_sizes=(1, 32)))
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            codes: list[Any] = []
            requests = ((number, mutant(number)) for number in range(CALLS))
            await asyncio.gather(*(send(channel, requests, codes) for _ in range(AT_ONCE)))
            assert [(code, number) for code, number in codes if code not in ANSWERS] == []
            assert len(codes) == CALLS
            assert {code for code, _ in codes} == ANSWERS
            after: list[Any] = []
            await send(channel, enumerate(SOUND), after)
            assert {code for code, _ in after} == {grpc.StatusCode.OK}
    finally:
        assert await server.drain()
