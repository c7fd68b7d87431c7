"""Callers whose time runs out hear so from the server, and not from gRPC's cancellation."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc

from service.admission import DeadlineError
from service.last_moment import answered_in_time


@pytest.mark.parametrize("remaining_s", [0.05, 0.5])
async def test_what_takes_too_long_ends_a_moment_before_the_deadline(remaining_s: float) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineError, match="within its deadline"):
        async with answered_in_time(remaining_s):
            # No deadline is far enough to be taken for the time that a busy machine loses.
            await asyncio.Event().wait()
    assert time.monotonic() - began >= 0.9 * remaining_s


async def test_what_is_in_time_or_has_no_deadline_runs_to_its_end() -> None:
    for remaining_s in (30.0, None):
        async with answered_in_time(remaining_s):
            await asyncio.sleep(0)


async def test_errors_of_what_runs_pass_unchanged() -> None:
    for error in (TimeoutError("of its own"), ValueError("another"), asyncio.CancelledError()):
        with pytest.raises(type(error)) as caught:
            async with answered_in_time(30.0):
                raise error
        assert caught.value is error


async def test_a_call_that_outlives_its_deadline_in_a_batch_is_told_so_by_the_server(
    start: Any, pipeline: Any, images: Any, details: Any
) -> None:
    server = await start()
    pipeline.open.clear()
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub: Any = pb_grpc.DetectionServiceStub(channel)  # type: ignore[no-untyped-call]
        request = pb.DetectRequest(images=[pb.Image(encoded=images.png())])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Detect(request, timeout=1.0)
    pipeline.open.set()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    # gRPC's own end of a call has no details.
    assert details(caught.value)["ErrorInfo"].reason == "DEADLINE_TOO_SHORT"
