"""Calls as spans of OpenTelemetry; its only importer.

Spans are made when a call is over, out of the record that its log line is made of, and backdated. A
call that is being answered so pays nothing for them, and the batcher, where images of many traces
meet, knows of none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Self

import grpc
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.security.call_record import CallRecord, Stage
from service.security.gate import is_probe

__all__ = ["OpenTelemetryTracing"]

_FLUSH_S = 5.0
"""Longest wait for a receiver, at each export and at the end: no server stays for its traces."""

_TRACE_HEADERS = frozenset({"traceparent", "tracestate"})

# Of the other codes the caller is the cause, and a server's span is no error.
_FAULTS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
_propagator = TraceContextTextMapPropagator()


def _named_by_the_operator() -> Resource:
    """Ourselves, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say otherwise."""
    return Resource.create({SERVICE_NAME: "offpath"}).merge(OTELResourceDetector().detect())


class OpenTelemetryTracing:
    """One span for each call, and under it one for each of its stages.

    They tell method, status, number of images, level and times; never an image, a token, a score
    or who called.

    Args:
        processor: Where finished spans go.
    """

    def __init__(self, processor: SpanProcessor) -> None:
        self._provider = TracerProvider(
            resource=_named_by_the_operator(),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("offpath")

    @classmethod
    def to(cls, endpoint: str) -> Self:
        """Sends spans to a receiver of OTLP over gRPC, in batches and from a thread of its own.

        Args:
            endpoint: Its address; ``http://`` for plain text, ``https://`` for TLS.
        """
        exporter = OTLPSpanExporter(
            endpoint=endpoint, insecure=endpoint.startswith("http://"), timeout=_FLUSH_S
        )
        return cls(BatchSpanProcessor(exporter))

    def of_call(self, path: str, metadata: Iterable[tuple[str, str | bytes]]) -> _CallSpans | None:
        """The trace of a call; None where a probe asks."""
        if is_probe(path):
            return None
        headers = {
            key: text for key, text in metadata if key in _TRACE_HEADERS and isinstance(text, str)
        }
        # Beside an empty context of our own: what this task is part of is not the caller's.
        parent = _propagator.extract(headers, context=Context())
        return _CallSpans(self._tracer, path, parent)

    def close(self, *, timeout_s: float = _FLUSH_S) -> None:
        """Send what has not been sent yet.

        Args:
            timeout_s: Longest wait, seconds; what then is left is lost.
        """
        # The library's own wait is half a minute, longer than what Kubernetes leaves us.
        end = threading.Thread(target=self._provider.shutdown, name="offpath-traces", daemon=True)
        end.start()
        end.join(timeout_s)


class _CallSpans:
    """The spans of one call."""

    def __init__(self, tracer: Tracer, path: str, parent: Context) -> None:
        self._tracer = tracer
        self._path = path.lstrip("/")
        self._parent = parent

    def ended(self, call: CallRecord) -> None:
        """Write the spans of a call that was answered just now."""
        now_s, now_ns = time.monotonic(), time.time_ns()

        def nanoseconds(moment_s: float) -> int:
            return now_ns - int((now_s - moment_s) * 1e9)

        service, _, method = self._path.rpartition("/")
        span = self._tracer.start_span(
            self._path,
            context=self._parent,
            kind=SpanKind.SERVER,
            start_time=nanoseconds(now_s - (call.total_s or 0.0)),
            attributes={
                "rpc.system": "grpc",
                "rpc.service": service,
                "rpc.method": method,
                "rpc.grpc.status_code": grpc.StatusCode[call.code].value[0],
                "offpath.request_id": call.request_id,
                **_size(call.images, call.level),
            },
        )
        _tell_fault(span, call)
        context = set_span_in_context(span, self._parent)
        for stage in call.stages or ():
            child = self._tracer.start_span(
                stage.name,
                context=context,
                start_time=nanoseconds(stage.began_s),
                attributes={**_size(stage.images, call.level), **_parts(stage)},
            )
            if stage.error:
                child.set_attribute("error.type", stage.error)
                child.set_status(Status(StatusCode.ERROR))
            child.end(nanoseconds(stage.ended_s))
        span.end(now_ns)


def _size(images: int, level: str) -> dict[str, str | int]:
    return {"offpath.images": images, **({"offpath.level": level} if level else {})}


def _parts(stage: Stage) -> dict[str, float]:
    return {f"offpath.{name}_s": seconds for name, seconds in stage.parts.items()}


def _tell_fault(span: Span, call: CallRecord) -> None:
    if call.reason:
        span.set_attribute("error.type", call.reason)
    if call.code in _FAULTS:
        span.set_status(Status(StatusCode.ERROR))
