"""A real server that knows its callers, asked with the right token, a wrong one, and none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc

from service.security.principals import token_digest

SERVICE = "offpath.v1.DetectionService"


async def failure(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@pytest.fixture
async def channel(start: Callable[..., Any], principals_file: Path) -> AsyncIterator[Any]:
    server = await start(principals=principals_file)
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture
def stub(channel: Any) -> Any:
    return pb_grpc.DetectionServiceStub(channel)


@pytest.fixture
def request_of(images: Any) -> Callable[..., pb.DetectRequest]:
    def make(count: int = 1, **fields: Any) -> pb.DetectRequest:
        return pb.DetectRequest(images=[pb.Image(encoded=images.png(0, 30))] * count, **fields)

    return make


def write(file: Path, text: str) -> None:
    file.write_text(text)


HEADERS = {
    "none": (),
    "a wrong token": (("authorization", "Bearer wrong"),),
    "no token": (("authorization", "Bearer "),),
    "another scheme": (("authorization", "Basic full-token"),),
    "the token alone": (("authorization", "full-token"),),
    "another header": (("x-authorization", "Bearer full-token"),),
    "a second token": (("authorization", "Bearer wrong"), ("authorization", "Bearer full-token")),
    "the hash": (("authorization", f"Bearer {token_digest('full-token').hex()}"),),
    "a prefix": (("authorization", "Bearer full-toke"),),
}


@pytest.mark.parametrize("case", HEADERS)
@pytest.mark.parametrize("method", ["Detect", "GetBundle"])
async def test_nobody_is_answered_without_a_token_that_counts(
    stub: Any, details: Any, case: str, method: str, request_of: Any, pipeline: Any
) -> None:
    request = request_of() if method == "Detect" else pb.GetBundleRequest()
    error = await failure(getattr(stub, method)(request, metadata=HEADERS[case]))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert details(error)["ErrorInfo"].reason == "UNAUTHENTICATED"
    assert pipeline.batches == []


async def test_every_refusal_reads_the_same_whatever_its_cause(stub: Any, request_of: Any) -> None:
    said = set()
    for header in HEADERS.values():
        error = await failure(stub.Detect(request_of(), metadata=header))
        said.add(error.details())
    assert len(said) == 1


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_right_token_is_answered(
    stub: Any, request_of: Any, tokens: dict[str, str], scheme: str
) -> None:
    header = (("authorization", f"{scheme} {tokens['full']}"),)
    reply = await stub.Detect(request_of(), metadata=header)
    assert reply.detections[0].score == 30


async def test_health_and_reflection_need_no_token(channel: Any) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    checked = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))
    assert checked.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)
    replies = [reply async for reply in reflection.ServerReflectionInfo(iter([asked]))]
    assert replies[0].HasField("file_descriptor_response")


async def test_a_method_that_is_not_there_is_unimplemented_for_everybody(channel: Any) -> None:
    error = await failure(channel.unary_unary(f"/{SERVICE}/Nothing")(b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_strangers_message_is_refused_before_it_is_read(
    channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    from service import interceptors

    parse = interceptors._read

    def spying(data: bytes, deserialise: Any, method: str) -> Any:
        read.append(len(data))
        return parse(data, deserialise, method)

    monkeypatch.setattr(interceptors, "_read", spying)
    detect = channel.unary_unary(f"/{SERVICE}/Detect")
    for header, code, seen in (
        ((), grpc.StatusCode.UNAUTHENTICATED, []),
        ((("authorization", "Bearer full-token"),), grpc.StatusCode.INVALID_ARGUMENT, [3]),
    ):
        error = await failure(detect(b"\xff\xff\xff", metadata=header))
        assert error.code() is code
        assert read == seen


async def test_a_plain_caller_gets_prediction_verdict_and_a_coarse_p_value(
    stub: Any, request_of: Any, bearer: Any
) -> None:
    reply = await stub.Detect(request_of(), metadata=bearer("plain-token"))
    (found,) = reply.detections
    assert (found.label, found.verdict) == ("cat", pb.VERDICT_OFF_PATH)
    assert (found.p_value, found.p_value_is_bucket) == (0.05, True)
    assert not found.HasField("score")
    assert not found.HasField("probability")
    assert found.reason == ""
    assert not found.layers
    assert not found.HasField("path")
    assert (found.alpha, found.level, found.passes) == (0.05, pb.LEVEL_STANDARD, 2)


async def test_a_caller_with_all_rights_gets_everything(
    stub: Any, request_of: Any, bearer: Any
) -> None:
    request = request_of(include_path=True, include_layers=True, alpha=0.04)
    (found,) = (await stub.Detect(request, metadata=bearer("full-token"))).detections
    assert (found.score, found.p_value) == (30.0, pytest.approx(1 / 31))
    assert not found.p_value_is_bucket
    assert (found.reason, found.alpha) == ("For the test.", 0.04)
    assert found.layers
    assert found.path.layers


@pytest.mark.parametrize(
    ("rights", "told"),
    [
        (["explanation"], False),
        (["score"], False),
        (["path", "alpha", "explanation"], False),
        (["score", "explanation"], True),
    ],
)
async def test_the_reason_names_the_p_value_and_so_needs_the_score_as_well(
    start: Callable[..., Any],
    tmp_path: Path,
    request_of: Any,
    bearer: Any,
    rights: list[str],
    told: bool,
) -> None:
    file = tmp_path / "rights.toml"
    write(file, f'[some]\ntoken_sha256 = ["{token_digest("t").hex()}"]\nrights = {rights}\n')
    server = await start(principals=file)
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        (found,) = (await stub.Detect(request_of(), metadata=bearer("t"))).detections
    assert found.reason == ("For the test." if told else "")
    assert found.HasField("score") is ("score" in rights)
    assert found.HasField("unstable_gates") is ("score" in rights)


@pytest.mark.parametrize(
    ("wish", "right"),
    [
        ({"alpha": 0.05}, "alpha"),
        ({"include_path": True}, "path"),
        ({"include_layers": True}, "explanation"),
        ({"include_explanation": True}, "explanation"),
    ],
)
async def test_a_wish_without_the_right_is_denied_and_costs_no_work(
    stub: Any,
    request_of: Any,
    bearer: Any,
    details: Any,
    pipeline: Any,
    wish: dict[str, Any],
    right: str,
) -> None:
    error = await failure(stub.Detect(request_of(**wish), metadata=bearer("plain-token")))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert details(error)["ErrorInfo"].reason == "MISSING_RIGHT"
    assert f"'{right}'" in error.details()
    assert pipeline.batches == []


async def test_where_nobody_is_known_everybody_has_all_rights(
    start: Callable[..., Any], request_of: Any
) -> None:
    server = await start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        request = request_of(include_path=True, include_layers=True, alpha=0.04)
        (found,) = (await stub.Detect(request)).detections
        assert (found.score, found.p_value_is_bucket) == (30.0, False)


async def test_a_quota_is_resource_exhausted_with_a_reason_of_its_own_and_a_time_to_retry(
    start: Callable[..., Any], tmp_path: Path, request_of: Any, bearer: Any, details: Any
) -> None:
    file = tmp_path / "quotas.toml"
    file.write_text(
        f'[slow]\ntoken_sha256 = ["{token_digest("s").hex()}"]\ncalls_per_s = 0.01\n'
        f'[few]\ntoken_sha256 = ["{token_digest("f").hex()}"]\n'
        "images_per_s = 0.01\nimages_burst = 5\n"
    )
    server = await start(principals=file)
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        await stub.GetBundle(pb.GetBundleRequest(), metadata=bearer("s"))
        await stub.Detect(request_of(4), metadata=bearer("f"))
        for token, refused_s in (("s", 100), ("f", 300)):
            error = await failure(stub.Detect(request_of(4), metadata=bearer(token)))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            told = details(error)
            assert told["ErrorInfo"].reason == "QUOTA_EXCEEDED"
            delay_s = told["RetryInfo"].retry_delay.ToMilliseconds() / 1000
            assert refused_s - 60 < delay_s <= refused_s
        # One image is left, and what is over quota holds no room in the queue.
        await stub.Detect(request_of(1), metadata=bearer("f"))


async def test_what_the_queue_refuses_costs_no_quota(
    start: Callable[..., Any], tmp_path: Path, request_of: Any, bearer: Any, details: Any
) -> None:
    file = tmp_path / "quotas.toml"
    file.write_text(
        f'[few]\ntoken_sha256 = ["{token_digest("f").hex()}"]\n'
        "images_per_s = 0.01\nimages_burst = 4\n"
    )
    server = await start(principals=file, max_queue_images=4, max_images_per_request=4)
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        with server.engines.active.batcher.admit("standard", images=3, size_bytes=1):
            error = await failure(stub.Detect(request_of(4), metadata=bearer("f")))
            assert details(error)["ErrorInfo"].reason == "QUEUE_FULL"
        await stub.Detect(request_of(4), metadata=bearer("f"))


async def test_changed_principals_count_on_open_connections(
    stub: Any, request_of: Any, bearer: Any, principals_file: Path, until: Any
) -> None:
    async def code(token: str) -> grpc.StatusCode:
        call = stub.Detect(request_of(), metadata=bearer(token))
        return await call.code()

    assert await code("plain-token") is grpc.StatusCode.OK
    assert await code("new-token") is grpc.StatusCode.UNAUTHENTICATED
    write(principals_file, f'[new]\ntoken_sha256 = ["{token_digest("new-token").hex()}"]\n')
    await until(lambda: code("new-token"), lambda found: found is grpc.StatusCode.OK)
    assert await code("plain-token") is grpc.StatusCode.UNAUTHENTICATED


async def test_a_bad_file_of_principals_keeps_the_old_ones_and_is_counted(
    start: Callable[..., Any],
    request_of: Any,
    bearer: Any,
    principals_file: Path,
    metric_lines: Any,
    until: Any,
) -> None:
    server = await start(principals=principals_file)
    failed = 'offpath_security_reloads_total{outcome="failed",what="principals"}'
    assert f"{failed} 0.0" in await metric_lines(server)
    write(principals_file, "[half")
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)

        async def lines() -> list[str]:
            await stub.Detect(request_of(), metadata=bearer("plain-token"))
            return await metric_lines(server)

        await until(lines, lambda found: f"{failed} 1.0" in found)
        await stub.Detect(request_of(), metadata=bearer("plain-token"))


SECRET = "the planted secret"


@pytest.mark.parametrize("where", ["analyse", "detect", "check_alpha", "level", "serialise"])
async def test_no_text_of_an_unknown_error_leaves_the_server(
    start: Callable[..., Any],
    request_of: Any,
    pipeline: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: str,
) -> None:
    server = await start()

    class InnerError(Exception):
        pass

    def fail(*_: Any, **__: Any) -> Any:
        raise InnerError(SECRET)

    if where == "serialise":
        monkeypatch.setattr("service.codec.encode_reply", lambda *_, **__: SECRET)
    else:
        monkeypatch.setattr(pipeline, where, fail)
    if where == "analyse":
        monkeypatch.setattr(server.engines.active.batcher._runner, "_analyse", fail)
    async with grpc.aio.insecure_channel(server.address) as channel:
        error = await failure(pb_grpc.DetectionServiceStub(channel).Detect(request_of()))
    assert error.code() is grpc.StatusCode.INTERNAL
    told = f"{error.details()} {error.trailing_metadata()} {error.debug_error_string()}"
    assert "secret" not in told
    assert "Error" not in error.details()
    assert "request id" in error.details()
    if where != "serialise":
        assert SECRET in caplog.text
