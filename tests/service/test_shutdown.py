"""SIGTERM under load: every accepted call is answered, and the process ends with exit code 0."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc

from service.local_server import LocalServer, local_server


@pytest.fixture
def server(bundle_folder: Path) -> Iterator[LocalServer]:
    """A server in a process of its own."""
    with local_server("--bundle", str(bundle_folder), "--drain-delay-s", "0.2") as server:
        yield server


async def test_sigterm_under_load_loses_no_accepted_call(server: LocalServer) -> None:
    raw = pb.RawTensor(data=bytes(32 * 32 * 3), height=32, width=32, channels=3)
    request = pb.DetectRequest(images=[pb.Image(raw=raw)])
    answered = 0
    some = asyncio.Event()

    async def caller() -> grpc.StatusCode:
        nonlocal answered
        # The bare stub: the client's own errors would not tell a cancelled call from a refused one.
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = pb_grpc.DetectionServiceStub(channel)
            while True:
                try:
                    await stub.Detect(request, timeout=60)
                except grpc.aio.AioRpcError as error:
                    return error.code()
                answered += 1
                if answered >= 50:
                    some.set()

    async with asyncio.timeout(200):
        callers = [asyncio.ensure_future(caller()) for _ in range(16)]
        await some.wait()
        server.process.send_signal(signal.SIGTERM)
        ends = await asyncio.gather(*callers)
    assert set(ends) == {grpc.StatusCode.UNAVAILABLE}, "a call was lost instead of refused"
    assert await asyncio.to_thread(server.process.wait, 60) == 0
