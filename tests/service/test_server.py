"""A real server on a free port of this machine, asked through the real stub."""

from __future__ import annotations

import asyncio
import io
import random
import socket
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc
from PIL import Image

from service.errors import StartError
from service.server import DetectionServer

SERVICE = "offpath.v1.DetectionService"


@pytest.fixture
async def channel(server: DetectionServer) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture
def stub(channel: Any) -> Any:
    return pb_grpc.DetectionServiceStub(channel)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> pb.Image:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return pb.Image(encoded=file.getvalue())


def raw(data: bytes, height: int = 8, width: int = 8, channels: int = 3) -> pb.Image:
    return pb.Image(raw=pb.RawTensor(data=data, height=height, width=width, channels=channels))


def violations(error: grpc.aio.AioRpcError) -> dict[str, str]:
    packed = dict(error.trailing_metadata())["grpc-status-details-bin"]
    request = error_details_pb2.BadRequest()
    for detail in status_pb2.Status.FromString(packed).details:
        if detail.Unpack(request):
            return {each.field: each.description for each in request.field_violations}
    return {}


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def metrics_of(server: DetectionServer) -> str:
    def read() -> str:
        with urllib.request.urlopen(server.metrics_url) as reply:
            return str(reply.read().decode())

    return await asyncio.to_thread(read)


async def test_each_image_gets_its_detection_in_the_order_of_the_request(
    stub: Any, images: Any
) -> None:
    reply = await stub.Detect(
        pb.DetectRequest(
            images=[
                pb.Image(encoded=images.png(1, 4)),
                raw(images.pixels(0, 199).tobytes()),
            ]
        )
    )
    first, second = reply.detections
    assert (first.label, first.score, first.verdict) == ("dog", 4.0, pb.VERDICT_ON_PATH)
    assert (second.label, second.score, second.verdict) == ("cat", 199.0, pb.VERDICT_OFF_PATH)
    assert second.alpha == 0.05
    assert second.p_value == pytest.approx(1 / 200)
    assert reply.bundle_digest == "d1" * 32
    assert (second.level, second.passes) == (pb.LEVEL_STANDARD, 2)
    assert not second.HasField("path")
    assert not second.layers


async def test_the_budget_of_a_call_decides_its_verdicts(stub: Any, images: Any) -> None:
    request = pb.DetectRequest(
        images=[pb.Image(encoded=images.png(0, 40)), pb.Image(encoded=images.png(2))], alpha=0.02
    )
    reply = await stub.Detect(request)
    assert [d.alpha for d in reply.detections] == [0.02, 0.02]
    assert [d.verdict for d in reply.detections] == [pb.VERDICT_ON_PATH, pb.VERDICT_ABSTAIN]


async def test_the_level_of_a_call_answers_it(stub: Any, images: Any, pipeline: Any) -> None:
    sent = [pb.Image(encoded=images.png(0, 40))]
    reply = await stub.Detect(pb.DetectRequest(images=sent, level=pb.LEVEL_THOROUGH))
    (found,) = reply.detections
    assert (found.level, found.passes, found.score) == (pb.LEVEL_THOROUGH, 4, 41.0)
    assert pipeline.levels_of_batches == ["thorough"]


async def test_callers_of_several_levels_never_share_a_batch_and_all_are_answered(
    stub: Any, images: Any, pipeline: Any
) -> None:
    pipeline.open.clear()
    levels = [
        (pb.LEVEL_UNSPECIFIED, pb.LEVEL_STANDARD, pb.LEVEL_THOROUGH)[i % 3] for i in range(30)
    ]
    calls = [
        asyncio.ensure_future(
            stub.Detect(
                pb.DetectRequest(images=[pb.Image(encoded=images.png(0, score))], level=level)
            )
        )
        for score, level in enumerate(levels)
    ]
    await asyncio.sleep(0.1)
    pipeline.open.set()
    for score, (level, reply) in enumerate(zip(levels, await asyncio.gather(*calls), strict=True)):
        (found,) = reply.detections
        assert found.level == (level or pb.LEVEL_STANDARD)
        assert found.score == score + (level == pb.LEVEL_THOROUGH)
    assert set(pipeline.levels_of_batches) == {"standard", "thorough"}
    assert len(pipeline.batches) < len(calls)


@pytest.mark.parametrize(
    ("level", "said"), [(pb.LEVEL_FAST, "not calibrated"), (7, "LEVEL_THOROUGH")]
)
async def test_a_level_that_is_unknown_or_not_calibrated_is_an_invalid_argument(
    stub: Any, images: Any, level: int, said: str
) -> None:
    request = pb.DetectRequest(images=[pb.Image(encoded=images.png())], level=level)
    error = await failure(stub.Detect(request))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    ((field, description),) = violations(error).items()
    assert field == "level"
    assert said in description


async def test_a_batch_is_bounded_in_passes(
    start: Callable[..., Any], pipeline: Any, images: Any
) -> None:
    server = await start(batch_sizes=(1, 2, 4, 8), max_batch_passes=8)
    sent = [pb.Image(encoded=images.png())] * 16
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        for level, most in ((pb.LEVEL_STANDARD, 4), (pb.LEVEL_THOROUGH, 2)):
            pipeline.batches.clear()
            await stub.Detect(pb.DetectRequest(images=sent, level=level))
            assert max(pipeline.batches) == most


async def test_path_and_layers_come_when_asked_for(stub: Any, images: Any) -> None:
    request = pb.DetectRequest(
        images=[pb.Image(encoded=images.png())], include_path=True, include_layers=True
    )
    (detection,) = (await stub.Detect(request)).detections
    first, second = detection.path.layers
    assert (first.name, first.gates, len(first.logits)) == ("first", 3, 3)
    bits = np.unpackbits(np.frombuffer(second.bits, np.uint8), count=9, bitorder="little")
    assert bits.tolist() == [value > 0 for value in second.logits]
    assert len(second.activations) == second.gates == 9
    assert [(layer.name, layer.weight) for layer in detection.layers] == [("second", 0.75)]


async def test_an_image_of_another_size_is_brought_to_the_networks(stub: Any) -> None:
    request = pb.DetectRequest(images=[encoded(Image.new("RGB", (40, 30)))])
    assert len((await stub.Detect(request)).detections) == 1


async def test_the_bundle_is_described(stub: Any) -> None:
    reply = await stub.GetBundle(pb.GetBundleRequest())
    assert [c.name for c in reply.classes] == ["cat", "dog", "ship"]
    assert [c.calibration_images for c in reply.classes] == [400, 400, 50]
    assert (reply.alpha, reply.smallest_alpha, reply.confidence) == (0.05, 0.01, 0.95)
    assert (reply.input_height, reply.input_width, reply.guarantee) == (8, 8, "pac")
    assert [(layer.name, layer.gates) for layer in reply.layers] == [("first", 3), ("second", 9)]


async def test_the_levels_are_described_with_their_price(stub: Any) -> None:
    reply = await stub.GetBundle(pb.GetBundleRequest())
    standard, thorough = reply.levels
    assert reply.default_level == standard.level == pb.LEVEL_STANDARD
    assert (standard.passes, list(standard.copies)) == (2, ["flip"])
    assert (thorough.level, thorough.passes) == (pb.LEVEL_THOROUGH, 4)
    assert [level.fusion for level in reply.levels] == ["one-class", "learnt"]
    assert all(level.milliseconds_per_image > 0 for level in reply.levels)


RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
WHOLE = encoded(RGB).encoded
BOMB = WHOLE[:16] + (100_000).to_bytes(4, "big") * 2 + WHOLE[24:]
DEEP = encoded(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)))
ANIMATED = encoded(RGB, save_all=True, append_images=[RGB.rotate(90)])
BAD_IMAGES: dict[str, tuple[pb.Image, str, str]] = {
    "no kind": (pb.Image(), "", "neither"),
    "empty": (pb.Image(encoded=b""), ".encoded", "no bytes"),
    "truncated": (pb.Image(encoded=WHOLE[:200]), ".encoded", "too early"),
    "unknown format": (pb.Image(encoded=b"what is this"), ".encoded", "unknown format"),
    "gif": (encoded(RGB, "GIF"), ".encoded", "GIF"),
    "animated": (ANIMATED, ".encoded", "one frame"),
    "16-bit": (DEEP, ".encoded", "16 bits"),
    "cmyk": (encoded(RGB.convert("CMYK"), "JPEG"), ".encoded", "CMYK"),
    "palette": (encoded(RGB.convert("P")), ".encoded", "palette"),
    "pixel bomb": (pb.Image(encoded=BOMB), ".encoded", "at most"),
    "raw of another type": (raw(bytes(8 * 8 * 3 * 4)), ".raw", "192 bytes"),
    "raw of another shape": (raw(bytes(8 * 8 * 3), height=9), ".raw", "216 bytes"),
    "raw with alpha": (raw(bytes(8 * 8 * 4), channels=4), ".raw", "3 channels"),
    "raw without pixels": (raw(b"", height=0), ".raw", "at least one pixel"),
    "raw bomb": (raw(b"", height=2**31, width=2**31), ".raw", "at most"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
async def test_an_unusable_image_is_an_invalid_argument_that_names_its_field(
    stub: Any, images: Any, case: str
) -> None:
    image, field, reason = BAD_IMAGES[case]
    good = pb.Image(encoded=images.png())
    error = await failure(stub.Detect(pb.DetectRequest(images=[good, image])))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    ((found, description),) = violations(error).items()
    assert found == f"images[1]{field}"
    assert reason in description


async def test_all_unusable_images_of_a_request_are_named_at_once(stub: Any, images: Any) -> None:
    sent = [pb.Image(encoded=data) for data in (b"", images.png(), WHOLE[:100])]
    error = await failure(stub.Detect(pb.DetectRequest(images=sent)))
    assert list(violations(error)) == ["images[0].encoded", "images[2].encoded"]


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 2.0, 0.001, 0.2, float("nan"), float("inf")])
async def test_a_budget_that_cannot_be_kept_is_an_invalid_argument(
    stub: Any, images: Any, alpha: float
) -> None:
    request = pb.DetectRequest(images=[pb.Image(encoded=images.png())], alpha=alpha)
    error = await failure(stub.Detect(request))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert list(violations(error)) == ["alpha"]


@pytest.mark.parametrize("count", [0, 65])
async def test_no_image_or_too_many_is_an_invalid_argument(
    stub: Any, images: Any, count: int
) -> None:
    request = pb.DetectRequest(images=[pb.Image(encoded=images.png())] * count)
    error = await failure(stub.Detect(request))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert list(violations(error)) == ["images"]


async def test_a_message_over_the_limit_is_refused(start: Callable[..., Any], images: Any) -> None:
    server = await start(max_message_bytes=1000)
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        error = await failure(stub.Detect(pb.DetectRequest(images=[raw(bytes(2000))])))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_bytes_that_are_no_message_are_an_invalid_argument(channel: Any, caplog: Any) -> None:
    detect = channel.unary_unary(f"/{SERVICE}/Detect")
    error = await failure(detect(b"\xff\xff\xff"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "Detect should get the message" in str(error.details())
    assert "Traceback" not in caplog.text


async def test_a_failure_of_the_network_is_internal_and_tells_nothing_of_it(
    stub: Any, images: Any, caplog: pytest.LogCaptureFixture
) -> None:
    request = pb.DetectRequest(images=[pb.Image(encoded=images.png(images.failing_pixel))])
    error = await failure(stub.Detect(request, metadata=(("x-request-id", "call-7"),)))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "call-7" in error.details()
    assert "secret" not in error.details()
    assert "secret" in caplog.text
    assert "call-7" in caplog.text
    await stub.Detect(pb.DetectRequest(images=[pb.Image(encoded=images.png())]))


@pytest.mark.parametrize(
    ("sent", "kept"), [("call-7.a_b", True), ("two words", False), ("x" * 65, False)]
)
async def test_a_sound_request_id_is_kept_and_any_other_replaced(
    stub: Any, images: Any, sent: str, kept: bool
) -> None:
    call = stub.Detect(
        pb.DetectRequest(images=[pb.Image(encoded=images.png())]),
        metadata=(("x-request-id", sent),),
    )
    reply = await call
    assert (reply.request_id == sent) is kept
    assert reply.request_id
    assert dict(await call.trailing_metadata())["x-request-id"] == reply.request_id


async def test_a_full_queue_is_resource_exhausted_and_says_when_to_retry(
    start: Callable[..., Any], pipeline: Any, images: Any
) -> None:
    server = await start(max_queue_images=2, max_images_per_request=2)
    pipeline.open.clear()
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        request = pb.DetectRequest(images=[pb.Image(encoded=images.png())] * 2)
        calls = [stub.Detect(request) for _ in range(3)]
        done, _ = await asyncio.wait(
            [asyncio.ensure_future(call) for call in calls], return_when="FIRST_COMPLETED"
        )
        error = await failure(done.pop())
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        packed = dict(error.trailing_metadata())["grpc-status-details-bin"]
        kinds = [d.TypeName() for d in status_pb2.Status.FromString(packed).details]
        assert "google.rpc.RetryInfo" in kinds
        health = health_pb2_grpc.HealthStub(channel)
        checked = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))
        assert checked.status == health_pb2.HealthCheckResponse.SERVING
        pipeline.open.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(result, pb.DetectResponse) for result in results) == 1


async def test_a_deadline_ends_a_call_and_not_its_batch_mates(
    stub: Any, pipeline: Any, images: Any
) -> None:
    pipeline.open.clear()
    request = pb.DetectRequest(images=[pb.Image(encoded=images.png())])
    patient = asyncio.ensure_future(stub.Detect(request))
    error = await failure(stub.Detect(request, timeout=0.2))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    pipeline.open.set()
    assert len((await patient).detections) == 1


async def test_a_thousand_calls_of_which_three_in_ten_cancel_leave_the_others_unharmed(
    stub: Any, pipeline: Any, images: Any
) -> None:
    chance = random.Random(0)
    cancelled = set(chance.sample(range(1000), 300))

    async def call(number: int) -> None:
        await asyncio.sleep(chance.random() * 0.5)
        score = number % 250
        sent = stub.Detect(pb.DetectRequest(images=[raw(images.pixels(1, score).tobytes())]))
        if number in cancelled:
            await asyncio.sleep(chance.random() * 0.02)
            sent.cancel()
            await asyncio.gather(sent, return_exceptions=True)
        else:
            assert (await sent).detections[0].score == score

    async with asyncio.timeout(60):
        await asyncio.gather(*(call(number) for number in range(1000)))
    assert len(pipeline.threads) == 1


async def test_many_callers_share_batches(stub: Any, pipeline: Any, images: Any) -> None:
    request = pb.DetectRequest(images=[raw(images.pixels().tobytes())])
    pipeline.open.clear()
    calls = [asyncio.ensure_future(stub.Detect(request)) for _ in range(40)]
    while len(pipeline.batches) == 0 and not any(call.done() for call in calls):
        await asyncio.sleep(0.01)
        pipeline.open.set()
    await asyncio.gather(*calls)
    assert sum(pipeline.batches) >= 40
    assert len(pipeline.batches) < 40


async def test_health_tells_life_and_readiness_apart(server: DetectionServer, channel: Any) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", SERVICE):
        reply = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    await server._health.draining()
    alive = await health.Check(health_pb2.HealthCheckRequest(service=""))
    ready = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))
    assert alive.status == health_pb2.HealthCheckResponse.SERVING
    assert ready.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_reflection_lists_the_service(channel: Any) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    replies = [reply async for reply in stub.ServerReflectionInfo(iter([request]))]
    names = {each.name for each in replies[0].list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names


async def test_metrics_count_calls_images_verdicts_and_rejections(
    server: DetectionServer, stub: Any, images: Any
) -> None:
    sent = [pb.Image(encoded=images.png(0, score)) for score in (1, 2, 200)]
    await stub.Detect(pb.DetectRequest(images=sent))
    await failure(stub.Detect(pb.DetectRequest()))
    text = await metrics_of(server)
    for line in (
        'offpath_requests_total{code="OK",method="Detect"} 1.0',
        'offpath_requests_total{code="INVALID_ARGUMENT",method="Detect"} 1.0',
        'offpath_images_total{level="standard"} 3.0',
        'offpath_verdicts_total{verdict="on_path"} 2.0',
        'offpath_verdicts_total{verdict="off_path"} 1.0',
        'offpath_rejections_total{reason="INVALID_INPUT"} 1.0',
        "offpath_queue_images 0.0",
        "offpath_batch_images_sum 3.0",
        'offpath_score_count{level="standard",verdict="on_path"} 2.0',
        'offpath_score_count{level="standard",verdict="off_path"} 1.0',
        "offpath_p_value_count 3.0",
        "offpath_decode_seconds_count 1.0",
        "offpath_queue_seconds_count 3.0",
    ):
        assert line in text.splitlines()
    assert 'offpath_analysis_seconds_sum{level="standard"}' in text
    assert 'offpath_bundle_info{backbone="' in text


@pytest.mark.parametrize("field", ["port", "metrics_port", "health_port"])
async def test_a_port_in_use_is_a_clear_error(start: Callable[..., Any], field: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"{port}.*in use.*--{field.replace('_', '-')}"):
            await start(**{field: port})


async def test_a_server_whose_batches_fail_in_a_row_is_not_ready_until_a_probe_succeeds(
    start: Callable[..., Any], pipeline: Any, images: Any
) -> None:
    server = await start(max_failed_batches=2, probe_interval_s=0.5)
    good, bad = (
        pb.DetectRequest(images=[pb.Image(encoded=images.png(pixel))])
        for pixel in (0, images.failing_pixel)
    )
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service=SERVICE)
        )
        seen = [(await watch.read()).status]
        for _ in range(2):
            assert (await failure(stub.Detect(bad))).code() is grpc.StatusCode.INTERNAL
        seen += [(await watch.read()).status for _ in range(2)]
        statuses = health_pb2.HealthCheckResponse
        assert seen == [statuses.SERVING, statuses.NOT_SERVING, statuses.SERVING]
        assert len((await stub.Detect(good)).detections) == 1
        watch.cancel()
    assert "offpath_failed_batches_total" in await metrics_of(server)


async def test_a_fault_of_the_batcher_ends_the_server_and_no_caller_hangs(
    start: Callable[..., Any], images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start(drain_delay_s=60)

    def broken(*_: object) -> None:
        raise LookupError("a fault of our own")

    monkeypatch.setattr(server._metrics.batches, "waited", broken)
    request = pb.DetectRequest(images=[pb.Image(encoded=images.png())])
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        assert (await failure(stub.Detect(request))).code() is grpc.StatusCode.INTERNAL
        await server.died.wait()
        assert (await failure(stub.Detect(request))).code() is grpc.StatusCode.UNAVAILABLE
    async with asyncio.timeout(30):  # the drain delay is for servers that still answer
        await server.drain()


async def test_an_analysis_that_never_ends_does_not_hold_up_the_end(
    start: Callable[..., Any], pipeline: Any, images: Any
) -> None:
    server = await start(drain_timeout_s=0.1)
    pipeline.open.clear()
    async with grpc.aio.insecure_channel(server.address) as channel:
        request = pb.DetectRequest(images=[pb.Image(encoded=images.png())])
        call = asyncio.ensure_future(pb_grpc.DetectionServiceStub(channel).Detect(request))
        for _ in range(1000):
            if "offpath_queue_images 1.0" in await metrics_of(server):
                break
        async with asyncio.timeout(60):
            assert not await server.drain()
        assert (await failure(call)).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_priority_that_is_unknown_is_an_invalid_argument(stub: Any, images: Any) -> None:
    request = pb.DetectRequest(images=[pb.Image(encoded=images.png())], priority=7)
    error = await failure(stub.Detect(request))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert list(violations(error)) == ["priority"]


async def test_two_servers_do_not_share_a_port(
    server: DetectionServer, start: Callable[..., Any]
) -> None:
    with pytest.raises(StartError, match="in use"):
        await start(port=server.port)


async def test_draining_answers_what_was_accepted_and_refuses_what_is_new(
    start: Callable[..., Any], pipeline: Any, images: Any
) -> None:
    server = await start()
    pipeline.open.clear()
    request = pb.DetectRequest(images=[pb.Image(encoded=images.png(1, 3))])
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        accepted = asyncio.ensure_future(stub.Detect(request))
        for _ in range(1000):
            if "offpath_queue_images 1.0" in await metrics_of(server):
                break
        draining = asyncio.ensure_future(server.drain())
        while True:
            outcome = await asyncio.gather(
                stub.Detect(request, timeout=0.2), return_exceptions=True
            )
            if outcome[0].code() is grpc.StatusCode.UNAVAILABLE:
                break
        pipeline.open.set()
        assert (await accepted).detections[0].score == 3
        assert await draining
