"""Each policy, through a real server and the real stub."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from offpath.inference.v2 import open_inference_pb2 as oip
from offpath.inference.v2 import open_inference_pb2_grpc as oip_grpc
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc

from service.client import AsyncClient
from service.results import ServerBusyError
from service.settings import SettingsError, load_settings

RELATED = 5


@pytest.fixture
async def ask(start: Callable[..., Any]) -> AsyncIterator[Callable[..., Any]]:
    """Starts a server with a policy and gives its metrics and a call that sends images."""
    channels = []

    async def ask(policy: str, **changes: Any) -> tuple[Any, Callable[..., Any]]:
        server = await start(campaign_policy=policy, campaign_related=RELATED, **changes)
        channels.append(grpc.aio.insecure_channel(server.address))
        stub = pb_grpc.DetectionServiceStub(channels[-1])

        async def call(*images: np.ndarray, request_id: str = "") -> pb.DetectResponse:
            request = pb.DetectRequest(
                images=[
                    pb.Image(raw=pb.RawTensor(data=i.tobytes(), height=8, width=8, channels=3))
                    for i in images
                ]
            )
            return await stub.Detect(request, metadata=(("x-request-id", request_id),))

        return server, call

    yield ask
    for channel in channels:
        await channel.close()


def variations(count: int, seed: int = 0) -> list[np.ndarray]:
    """Nearly identical images; the fake pipeline reads class, score and path in the first row."""
    rng = np.random.default_rng(seed)
    base = rng.integers(60, 190, (8, 8, 3))
    many = []
    for _ in range(count):
        image = base.copy()
        image[1:] += rng.integers(-2, 3, (7, 8, 3))
        image[0, 0, 0], image[0, 1, 0] = 0, 3
        many.append(image.astype(np.uint8))
    return many


def value(server: Any, name: str) -> float:
    return float(server._metrics.registry.get_sample_value(name))


async def test_observing_counts_and_logs_a_campaign_once_and_tells_the_caller_nothing(
    ask: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    server, call = await ask("observe")
    with caplog.at_level(logging.WARNING, logger="service.campaigns"):
        for i, image in enumerate(variations(RELATED + 4)):
            (found,) = (await call(image, request_id=f"call-{i}")).detections
            assert not found.in_campaign
    assert value(server, "offpath_campaigns_total") == 1
    assert value(server, "offpath_campaign_images_total") == 4
    assert value(server, "offpath_active_campaigns") == 1
    (record,) = [r for r in caplog.records if r.name.startswith("service.campaigns")]
    assert "127.0.0.1" in record.getMessage()
    assert f"call-{RELATED}" in record.getMessage()


async def test_flagging_marks_the_images_of_the_campaign_and_leaves_their_verdict(
    ask: Callable[..., Any],
) -> None:
    _, call = await ask("flag")
    *first, last = variations(RELATED + 1)
    (stranger,) = variations(1, seed=1)
    assert not any(d.in_campaign for d in (await call(*first)).detections)
    marked, unmarked = (await call(last, stranger)).detections
    assert (marked.in_campaign, unmarked.in_campaign) == (True, False)
    assert marked.verdict == unmarked.verdict == pb.VERDICT_ON_PATH
    assert marked.reason == unmarked.reason


async def test_throttling_refuses_the_campaign_and_answers_other_images(
    ask: Callable[..., Any],
) -> None:
    server, call = await ask("throttle", campaign_window_s=100.0)
    *first, last = variations(RELATED + 1)
    await call(*first)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(last)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    packed = dict(refused.value.trailing_metadata())["grpc-status-details-bin"]
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    details = status_pb2.Status.FromString(packed).details
    assert [d.Unpack(m) for d, m in zip(details, (info, retry), strict=True)] == [True, True]
    assert info.reason == "CAMPAIGN"
    assert 90 < retry.retry_delay.seconds <= 100
    assert len((await call(*variations(1, seed=1))).detections) == 1
    assert (
        server._metrics.registry.get_sample_value(
            "offpath_rejections_total", {"reason": "CAMPAIGN"}
        )
        == 1
    )


async def test_clients_learn_when_to_try_again(start: Callable[..., Any]) -> None:
    server = await start(campaign_policy="throttle", campaign_related=RELATED)
    client = AsyncClient(server.address)
    try:
        *first, last = variations(RELATED + 1)
        await client.detect(first)
        with pytest.raises(ServerBusyError) as refused:
            await client.detect([last])
        assert refused.value.retry_after_s > 3500
    finally:
        await client.close()


async def test_clients_see_the_mark(start: Callable[..., Any]) -> None:
    server = await start(campaign_policy="flag", campaign_related=RELATED)
    client = AsyncClient(server.address)
    try:
        found = (await client.detect(variations(RELATED + 1))).detections
        assert [each.in_campaign for each in found] == [False] * RELATED + [True]
    finally:
        await client.close()


@pytest.fixture
async def infer() -> AsyncIterator[Callable[..., Any]]:
    """A call of the Open Inference Protocol that sends images to a server."""
    channels = []

    async def infer(server: Any, *images: np.ndarray) -> oip.ModelInferResponse:
        channels.append(grpc.aio.insecure_channel(server.address))
        pixels = np.stack(images)
        request = oip.ModelInferRequest(
            model_name="offpath",
            inputs=[
                oip.ModelInferRequest.InferInputTensor(
                    name="pixels", datatype="UINT8", shape=pixels.shape
                )
            ],
            outputs=[oip.ModelInferRequest.InferRequestedOutputTensor(name="in_campaign")],
            raw_input_contents=[pixels.tobytes()],
        )
        return await oip_grpc.GRPCInferenceServiceStub(channels[-1]).ModelInfer(request)

    yield infer
    for channel in channels:
        await channel.close()


@pytest.mark.parametrize(("policy", "told"), [("flag", True), ("observe", False)])
async def test_the_open_inference_protocol_tells_of_campaigns_as_much_as_detect_does(
    ask: Callable[..., Any], infer: Callable[..., Any], policy: str, told: bool
) -> None:
    server, call = await ask(policy)
    *first, last = variations(RELATED + 1)
    (stranger,) = variations(1, seed=1)
    await call(*first)
    reply = await infer(server, last, stranger)
    assert reply.raw_output_contents == [bytes([told, False])]
    assert [d.in_campaign for d in (await call(last, stranger)).detections] == [told, False]


async def test_the_open_inference_protocol_refuses_a_campaign_as_detect_does(
    ask: Callable[..., Any], infer: Callable[..., Any]
) -> None:
    server, call = await ask("throttle", campaign_window_s=100.0)
    *first, last = variations(RELATED + 1)
    await infer(server, *first)
    statuses = []
    for refused in (call(last), infer(server, last)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await refused
        packed = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
        status = status_pb2.Status.FromString(packed)
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        assert [d.Unpack(m) for d, m in zip(status.details, (info, retry), strict=True)] == [
            True
        ] * 2
        assert 90 < retry.retry_delay.seconds <= 100
        statuses.append((caught.value.code(), info.reason, status.message))
    assert statuses[0] == statuses[1]
    assert statuses[0][:2] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "CAMPAIGN")
    assert len((await infer(server, *variations(1, seed=1))).outputs) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": "off"},
        {"policy": "throttle", "campaign_exempt_principals": {"127.0.0.1", "::/64"}},
    ],
)
async def test_neither_off_nor_exempt_callers_are_watched(
    ask: Callable[..., Any], changes: dict[str, Any]
) -> None:
    server, call = await ask(**changes)
    for image in variations(4 * RELATED):
        (found,) = (await call(image)).detections
        assert not found.in_campaign
    assert value(server, "offpath_campaigns_total") == 0


async def test_retries_of_one_image_are_answered_under_every_policy(
    ask: Callable[..., Any],
) -> None:
    server, call = await ask("throttle")
    (image,) = variations(1)
    for _ in range(10 * RELATED):
        await call(image)
    await call(*[image] * 20)
    assert value(server, "offpath_campaigns_total") == 0


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"RELATED should be less than .*QUERIES.* 50 and 50"):
        load_settings(campaign_related=50, campaign_window_queries=50)
