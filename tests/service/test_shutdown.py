"""SIGTERM under load: every accepted call is answered, and the process ends with exit code 0."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc


@pytest.fixture
def process(
    tmp_path: Path, bundle_folder: Path
) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """A server in a process of its own, and its addresses."""
    ready = tmp_path / "ready.json"
    arguments = ["serve", "--bundle", str(bundle_folder), "--ready-file", str(ready)]
    arguments += ["--port", "0", "--metrics-port", "0", "--drain-delay-s", "0.2"]
    command = [sys.executable, "-m", "service.cli", *arguments]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while not ready.exists():
                assert process.poll() is None, "the server ended before it was ready"
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.05)
            yield process, json.loads(ready.read_text())
        finally:
            process.kill()


async def test_sigterm_under_load_loses_no_accepted_call(process: Any) -> None:
    server, addresses = process
    raw = pb.RawTensor(data=bytes(32 * 32 * 3), height=32, width=32, channels=3)
    request = pb.DetectRequest(images=[pb.Image(raw=raw)])
    answered = 0
    some = asyncio.Event()

    async def caller() -> grpc.StatusCode:
        nonlocal answered
        # The bare stub: the client's own errors would not tell a cancelled call from a refused one.
        async with grpc.aio.insecure_channel(addresses["address"]) as channel:
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
        server.send_signal(signal.SIGTERM)
        ends = await asyncio.gather(*callers)
    assert set(ends) == {grpc.StatusCode.UNAVAILABLE}, "a call was lost instead of refused"
    assert await asyncio.to_thread(server.wait, 60) == 0
