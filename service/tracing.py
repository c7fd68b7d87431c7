"""Traces of calls, where somebody wants them: nothing of OpenTelemetry is loaded before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from service.errors import StartError
from service.security.call_record import CallRecord

__all__ = ["CallTrace", "Tracing", "start_tracing"]


class CallTrace(Protocol):
    """The trace of one call, written once it is over."""

    def ended(self, call: CallRecord) -> None:
        """The call was answered, with this record; it was so a moment ago at most."""


class Tracing(Protocol):
    """Where traces go."""

    def of_call(self, path: str, metadata: Iterable[tuple[str, str | bytes]]) -> CallTrace | None:
        """The trace of a call that comes in; None where it is a probe's, which nobody wants.

        Args:
            path: The method, ``/package.Service/Method``.
            metadata: What came with it; only W3C's ``traceparent`` and ``tracestate`` are read.
        """

    def close(self) -> None:
        """Send what has not been sent yet; blocks for a few seconds at most."""


def start_tracing(endpoint: str | None) -> Tracing | None:
    """Send traces to a receiver of OTLP over gRPC.

    Args:
        endpoint: Its address, such as ``http://127.0.0.1:4317``; None for no traces.

    Raises:
        StartError: If OpenTelemetry is not installed.
    """
    if endpoint is None:
        return None
    try:
        from service.spans import OpenTelemetryTracing  # noqa: PLC0415  # for those who trace alone
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        raise StartError(
            "trace_endpoint should be set where OpenTelemetry is installed. Found it missing. "
            "Install it with: pip install 'offpath[serve,trace]', or unset OFFPATH_TRACE_ENDPOINT."
        ) from error
    return OpenTelemetryTracing.to(endpoint)
