"""What a caller can make the server hold or do is bounded, however the request is dressed up."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc
from PIL import Image

MEBIBYTE = 2**20


def png(width: int, height: int) -> pb.Image:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return pb.Image(encoded=file.getvalue())


def raw(width: int, height: int) -> pb.Image:
    data = bytes(width * height * 3)
    return pb.Image(raw=pb.RawTensor(data=data, height=height, width=width, channels=3))


async def code_of(server: Any, request: pb.DetectRequest, **options: Any) -> grpc.StatusCode:
    limits = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(server.address, options=limits, **options) as channel:
        return await pb_grpc.DetectionServiceStub(channel).Detect(request, timeout=60).code()


@pytest.mark.parametrize("make", [png, raw])
@pytest.mark.parametrize(
    ("width", "code"), [(50, grpc.StatusCode.OK), (51, grpc.StatusCode.INVALID_ARGUMENT)]
)
async def test_an_image_has_at_most_as_many_pixels_as_the_setting_says(
    start: Callable[..., Any], make: Callable[..., pb.Image], width: int, code: grpc.StatusCode
) -> None:
    server = await start(max_pixels=1000)
    assert await code_of(server, pb.DetectRequest(images=[make(width, 20)])) is code


@pytest.mark.parametrize(
    ("count", "code"), [(3, grpc.StatusCode.OK), (4, grpc.StatusCode.INVALID_ARGUMENT)]
)
async def test_a_request_has_at_most_as_many_images_as_the_setting_says(
    start: Callable[..., Any], count: int, code: grpc.StatusCode
) -> None:
    server = await start(max_images_per_request=3)
    assert await code_of(server, pb.DetectRequest(images=[raw(8, 8)] * count)) is code


async def test_images_of_a_few_bytes_each_do_not_get_around_the_limit(
    start: Callable[..., Any],
) -> None:
    server = await start()
    request = pb.DetectRequest(images=[pb.Image()] * 1_000_000)
    assert await code_of(server, request) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_compressed_message_counts_as_what_it_unfolds_to(
    start: Callable[..., Any],
) -> None:
    server = await start()
    bomb = pb.DetectRequest(images=[pb.Image(encoded=bytes(64 * MEBIBYTE))])
    code = await code_of(server, bomb, compression=grpc.Compression.Gzip)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_reply_is_bounded_like_a_request(start: Callable[..., Any]) -> None:
    server = await start(max_message_bytes=8000)
    request = pb.DetectRequest(images=[png(8, 8)] * 64, include_path=True)
    assert request.ByteSize() < 8000
    assert await code_of(server, request) is grpc.StatusCode.RESOURCE_EXHAUSTED
