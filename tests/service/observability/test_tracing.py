"""Each call is a trace, joined to its caller's, that tells times and no secrets."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from offpath.inference.v2 import open_inference_pb2 as oip
from offpath.inference.v2 import open_inference_pb2_grpc as oip_grpc
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from service.security.call_record import CallRecord, Stage
from service.server import DetectionServer
from service.spans import OpenTelemetryTracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
DETECT = "offpath.v1.DetectionService/Detect"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, ReadableSpan]]:
    """Lets servers trace into memory; gives what was traced so far, by name."""
    exporter = InMemorySpanExporter()
    tracing = OpenTelemetryTracing(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("service.server.start_tracing", lambda endpoint: tracing)
    return lambda: {span.name: span for span in exporter.get_finished_spans()}


@pytest.fixture
async def channel(spans: Any, start: Callable[..., Any]) -> AsyncIterator[grpc.aio.Channel]:
    server = await start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> Any:
    return pb_grpc.DetectionServiceStub(channel)


async def test_a_call_is_one_span_with_its_stages_below_it(
    spans: Any, stub: Any, images: Any
) -> None:
    sent = [pb.Image(encoded=images.png(0, score)) for score in (1, 2)]
    await stub.Detect(pb.DetectRequest(images=sent))
    found = spans()
    assert set(found) == {DETECT, "decode", "queue", "analysis"}
    call = found.pop(DETECT)
    assert call.kind is SpanKind.SERVER
    assert call.parent is None
    assert call.status.status_code is StatusCode.UNSET
    assert {k: v for k, v in call.attributes.items() if k != "offpath.request_id"} == {
        "rpc.system": "grpc",
        "rpc.service": "offpath.v1.DetectionService",
        "rpc.method": "Detect",
        "rpc.grpc.status_code": 0,
        "offpath.images": 2,
        "offpath.level": "standard",
    }
    for child in found.values():
        assert child.parent.span_id == call.context.span_id
        assert child.context.trace_id == call.context.trace_id
        assert dict(child.attributes) == {"offpath.images": 2, "offpath.level": "standard"}
        assert call.start_time <= child.start_time <= child.end_time <= call.end_time
    assert found["decode"].end_time <= found["queue"].start_time
    assert found["queue"].end_time <= found["analysis"].start_time


async def test_the_caller_s_trace_goes_on(spans: Any, stub: Any, images: Any) -> None:
    request = pb.DetectRequest(images=[pb.Image(encoded=images.png())])
    await stub.Detect(request, metadata=(("traceparent", f"00-{TRACE}-{CALLER}-01"),))
    call = spans()[DETECT]
    assert f"{call.context.trace_id:032x}" == TRACE
    assert f"{call.parent.span_id:016x}" == CALLER
    assert call.parent.is_remote


async def test_a_caller_that_does_not_sample_is_not_traced(
    spans: Any, stub: Any, images: Any
) -> None:
    request = pb.DetectRequest(images=[pb.Image(encoded=images.png())])
    await stub.Detect(request, metadata=(("traceparent", f"00-{TRACE}-{CALLER}-00"),))
    assert spans() == {}


@pytest.mark.parametrize("header", ["", "00-" + "0" * 32 + "-" + CALLER + "-01", "nonsense" * 99])
async def test_a_header_that_names_no_trace_begins_a_new_one(
    spans: Any, stub: Any, images: Any, header: str
) -> None:
    request = pb.DetectRequest(images=[pb.Image(encoded=images.png())])
    await stub.Detect(request, metadata=(("traceparent", header),))
    assert spans()[DETECT].parent is None


@pytest.mark.parametrize(
    ("pixel", "code", "status", "reason"),
    [
        (None, grpc.StatusCode.INVALID_ARGUMENT, StatusCode.UNSET, "INVALID_INPUT"),
        ("failing", grpc.StatusCode.INTERNAL, StatusCode.ERROR, "INTERNAL"),
    ],
)
async def test_a_failure_is_an_error_of_the_span_where_the_server_is_its_cause(
    spans: Any, stub: Any, images: Any, pixel: str | None, code: Any, status: Any, reason: str
) -> None:
    sent = [] if pixel is None else [pb.Image(encoded=images.png(images.failing_pixel))]
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.Detect(pb.DetectRequest(images=sent))
    found = spans()
    assert found[DETECT].attributes["rpc.grpc.status_code"] == code.value[0]
    assert found[DETECT].attributes["error.type"] == reason
    assert found[DETECT].status.status_code is status
    assert found[DETECT].events == ()
    assert set(found) == ({DETECT} if pixel is None else {DETECT, "decode", "queue", "analysis"})


async def test_the_time_of_a_batch_that_failed_is_no_wait_and_says_so(
    spans: Any, stub: Any, images: Any
) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.Detect(
            pb.DetectRequest(images=[pb.Image(encoded=images.png(images.failing_pixel))])
        )
    found = spans()
    queue, analysis = found["queue"], found["analysis"]
    assert queue.start_time <= queue.end_time <= analysis.start_time < analysis.end_time
    assert analysis.attributes["error.type"] == "BATCH_FAILED"
    assert analysis.status.status_code is StatusCode.ERROR
    assert "error.type" not in queue.attributes
    assert queue.status.status_code is StatusCode.UNSET


async def test_a_deadline_that_passes_in_the_queue_is_all_wait(
    spans: Any, start: Callable[..., Any], images: Any, pipeline: Any
) -> None:
    server = await start()
    pipeline.open.clear()
    request = pb.DetectRequest(images=[pb.Image(encoded=images.png())])
    async with grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await pb_grpc.DetectionServiceStub(channel).Detect(request, timeout=0.2)
    async with asyncio.timeout(20):
        while DETECT not in spans():  # noqa: ASYNC110  # the caller is told first
            await asyncio.sleep(0.01)
    assert set(spans()) == {DETECT, "decode", "queue"}


async def test_probes_and_reflection_are_not_traced(spans: Any, channel: Any) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    await health.Check(health_pb2.HealthCheckRequest())
    reflect = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    assert [reply async for reply in reflect.ServerReflectionInfo(iter([asked]))]
    inference = oip_grpc.GRPCInferenceServiceStub(channel)
    await inference.ServerLive(oip.ServerLiveRequest())
    await inference.ServerReady(oip.ServerReadyRequest())
    await inference.ModelReady(oip.ModelReadyRequest(name="offpath"))
    assert spans() == {}
    await inference.ServerMetadata(oip.ServerMetadataRequest())
    assert set(spans()) == {"inference.GRPCInferenceService/ServerMetadata"}


def test_the_parts_of_a_stage_and_its_times_are_told() -> None:
    exporter = InMemorySpanExporter()
    tracing = OpenTelemetryTracing(SimpleSpanProcessor(exporter))
    trace = tracing.of_call(f"/{DETECT}", ())
    assert trace is not None
    parts = {"network": 0.25, "scoring": 0.125}
    stage = Stage(name="analysis", began_s=10.0, ended_s=10.5, images=3, parts=parts)
    trace.ended(CallRecord(method="Detect", request_id="r", code="OK", total_s=1, stages=[stage]))
    child, call = exporter.get_finished_spans()
    assert child.end_time - child.start_time == pytest.approx(0.5e9, abs=10)
    assert call.end_time - call.start_time == pytest.approx(1e9, abs=10)
    assert child.attributes["offpath.network_s"] == 0.25
    assert child.attributes["offpath.scoring_s"] == 0.125


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """A receiver of OTLP that keeps what comes."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  # the protocol's name
        self.requests.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()


async def test_spans_reach_a_receiver_of_otlp_before_the_server_has_stopped(
    bundle: Any, make_settings: Callable[..., Any], images: Any
) -> None:
    receiver, listening = Receiver(), grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, listening)
    port = listening.add_insecure_port("127.0.0.1:0")
    listening.start()
    settings = make_settings(trace_endpoint=f"http://127.0.0.1:{port}")
    server = await DetectionServer.start(bundle, settings)
    png = images.png()
    async with grpc.aio.insecure_channel(server.address) as channel:
        request = pb.DetectRequest(images=[pb.Image(encoded=png)])
        metadata = (("authorization", "Bearer secret-of-mine"),)
        await pb_grpc.DetectionServiceStub(channel).Detect(request, metadata=metadata)
    await server.drain()
    await asyncio.to_thread(listening.stop(None).wait)
    (resource,) = [each for request in receiver.requests for each in request.resource_spans]
    named = {a.key: a.value.string_value for a in resource.resource.attributes}
    assert named["service.name"] == "offpath"
    sent = {span.name for scope in resource.scope_spans for span in scope.spans}
    assert sent == {DETECT, "decode", "queue", "analysis"}
    wire = b"".join(request.SerializeToString() for request in receiver.requests)
    assert png not in wire
    assert b"secret-of-mine" not in wire
    assert b"score" not in wire


def test_a_receiver_that_never_answers_does_not_hold_up_the_end() -> None:
    never, begun = threading.Event(), threading.Event()

    class Stuck(SpanProcessor):
        def shutdown(self) -> None:
            begun.set()
            never.wait()

    OpenTelemetryTracing(Stuck()).close(timeout_s=0.2)
    assert begun.is_set()
    assert not never.is_set()
    never.set()


def test_a_missing_extra_is_one_clear_error() -> None:
    script = """
import sys
sys.modules["opentelemetry"] = None
from service.errors import StartError
from service.tracing import start_tracing
assert start_tracing(None) is None
try:
    start_tracing("http://127.0.0.1:4317")
except StartError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stderr == ""
    assert "pip install 'offpath[serve,trace]'" in done.stdout


def test_without_an_endpoint_nothing_of_opentelemetry_is_loaded() -> None:
    script = """
import sys
import service.server
from service.tracing import start_tracing
start_tracing(None)
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=240
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4317", "ftp://here", "http://", "http://a/b"])
def test_an_endpoint_that_is_none_is_refused(
    make_settings: Callable[..., Any], endpoint: str
) -> None:
    with pytest.raises(ValueError, match="trace_endpoint"):
        make_settings(trace_endpoint=endpoint)


def test_the_operator_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    names = []
    for name in (None, "gate-of-the-shop"):
        if name is not None:
            monkeypatch.setenv("OTEL_SERVICE_NAME", name)
        tracing = OpenTelemetryTracing(SimpleSpanProcessor(exporter))
        names.append(tracing._provider.resource.attributes["service.name"])
    assert names == ["offpath", "gate-of-the-shop"]
