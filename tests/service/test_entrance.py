"""Calls that nothing in their message could save are refused before it is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from offpath.v1 import detection_pb2 as pb

from service.admission import Priority

_DETECT = "/offpath.v1.DetectionService/Detect"
_INFER = "/inference.GRPCInferenceService/ModelInfer"
_NO_MESSAGE = b"\xff\xff\xff"


async def status(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@pytest.fixture
async def crowded(start: Any) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server whose queue is full."""
    server = await start(max_queue_images=4, max_images_per_request=4)
    async with grpc.aio.insecure_channel(server.address) as channel:
        with server.engines.active.batcher.admit("standard", images=4, size_bytes=1):
            yield channel


@pytest.mark.parametrize("path", [_DETECT, _INFER])
async def test_a_full_queue_refuses_even_what_cannot_be_read(
    crowded: grpc.aio.Channel, details: Any, path: str
) -> None:
    error = await status(crowded.unary_unary(path)(_NO_MESSAGE, timeout=60))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details(error)["RetryInfo"].retry_delay.ToNanoseconds() > 0


async def test_calls_that_need_no_place_in_the_queue_are_answered_beside_a_full_one(
    crowded: grpc.aio.Channel,
) -> None:
    bundle: Any = crowded.unary_unary(
        "/offpath.v1.DetectionService/GetBundle",
        pb.GetBundleRequest.SerializeToString,
        pb.GetBundleResponse.FromString,
    )
    assert (await bundle(pb.GetBundleRequest(), timeout=60)).digest


async def test_a_deadline_before_the_work_ahead_is_done_is_refused_without_reading(
    start: Any, details: Any
) -> None:
    server = await start()
    batcher = server.engines.active.batcher
    for _ in range(60):  # each believed up to three times what was known
        batcher._work.times.learn("standard", batcher.sizes["standard"][-1], 3.0)
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = channel.unary_unary(_DETECT)
        with batcher._work.admitted("standard", 64, Priority.INTERACTIVE):
            error = await status(call(_NO_MESSAGE, timeout=2.0))
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert details(error)["ErrorInfo"].reason == "DEADLINE_TOO_SHORT"
        with batcher._work.admitted("standard", 64, Priority.BULK):  # interactive calls go first
            error = await status(call(_NO_MESSAGE, timeout=2.0))
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
