"""Around every call: who calls, its name, its metrics, its status on an error, its log line."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from functools import cache
from typing import Any

import grpc

from detector.errors import InvalidInputError
from service.entrance import Entrance
from service.errors import RichStatus, status_of
from service.metrics import Metrics
from service.security.call_log import CallLog
from service.security.call_record import CallRecord, set_current_call
from service.security.gate import Claim, Gate, is_open
from service.security.principal import set_current_principal
from service.security.quotas import Quotas
from service.tracing import CallTrace, Tracing

__all__ = ["REQUEST_ID_HEADER", "CallInterceptor", "current_request_id"]

REQUEST_ID_HEADER = "x-request-id"
"""Header in which callers name their call and the server answers with its name."""

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ID_BYTES = 16
_log = logging.getLogger(__name__)
_request_id: ContextVar[str] = ContextVar("request_id", default="")


def current_request_id() -> str:
    """Name of the call that is being answered; empty outside of one."""
    return _request_id.get()


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Names, measures and guards each call.

    Health and reflection pass untouched: their traffic is not the services'.

    Args:
        metrics: Where calls are counted.
        gate: Who knows callers.
        quotas: Who counts what they use.
        tracing: Where traces go; None for none.
        entrance: Who turns calls away before their message is read; None for nobody.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        gate: Gate,
        quotas: Quotas,
        tracing: Tracing | None = None,
        entrance: Entrance | None = None,
    ) -> None:
        self._metrics = metrics
        self._requests_of = cache(metrics.requests.labels)
        self._seconds_of = cache(metrics.request_seconds.labels)
        self._rejections_of = cache(metrics.rejections.labels)
        self._calls = CallLog()
        self._gate = gate
        self._quotas = quotas
        self._tracing = tracing
        self._entrance = entrance
        self._active = 0
        self._last_arrival = 0.0

    async def quiet(self, *, for_s: float, timeout_s: float) -> None:
        """Wait until calls have ceased to come.

        A server that stops earlier cancels the calls that have reached it and not yet its
        handlers; answered instead, they are told that it shuts down.

        Args:
            for_s: Without a call for so long it is quiet, seconds.
            timeout_s: Longest wait, seconds.
        """
        give_up = time.monotonic() + timeout_s
        while time.monotonic() < give_up:
            await asyncio.sleep(for_s / 4)
            if not self._active and time.monotonic() - self._last_arrival >= for_s:
                return

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of a call, guarded unless it is open to everybody."""
        handler = await continuation(handler_call_details)
        path = str(handler_call_details.method)
        if handler is None or is_open(path):
            return handler
        if handler.unary_unary is None:  # no stream is guarded, so none is answered
            return None
        metadata = tuple(handler_call_details.invocation_metadata or ())
        claim = self._gate.claim(path, metadata)
        trace = self._tracing.of_call(path, metadata) if self._tracing is not None else None
        guarded = self._guarded(handler, path, _accepted_id(metadata), claim, trace)
        if claim.hopeless:
            # As a stream of messages none of which is read: strangers get no memory for theirs.
            return grpc.stream_unary_rpc_method_handler(guarded)
        # Bytes as they are: they are read once the call is let in.
        return grpc.unary_unary_rpc_method_handler(guarded)

    def _guarded(
        self, handler: Any, path: str, request_id: str, claim: Claim, trace: CallTrace | None
    ) -> Callable[[Any, Any], Awaitable[bytes]]:
        method = path.rpartition("/")[2]

        async def guarded(data: Any, context: Any) -> Any:
            _request_id.set(request_id)
            context.set_trailing_metadata(((REQUEST_ID_HEADER, request_id),))
            call = CallRecord(method=method, request_id=request_id, peer=context.peer())
            call.stages = None if trace is None else []
            set_current_call(call)
            self._active += 1
            started = self._last_arrival = time.monotonic()
            code = grpc.StatusCode.OK
            try:
                self._let_in(claim, call, context)
                if self._entrance is not None:
                    self._entrance.check(path, context.time_remaining())
                request = _read(data, handler.request_deserializer, method)
                reply = await handler.unary_unary(request, context)
                # Here and not by gRPC, which would tell callers why it failed.
                return handler.response_serializer(reply)
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            except Exception as error:  # noqa: BLE001  # every error has to leave as a status
                status = self._status(error, method, request_id)
                code, call.reason = status.code, status.reason
                await context.abort(
                    code,
                    status.message,
                    (*status.trailing_metadata, (REQUEST_ID_HEADER, request_id)),
                )
            finally:
                self._active -= 1
                self._count(call, code, time.monotonic() - started)
                if trace is not None:
                    trace.ended(call)

        return guarded

    def _let_in(self, claim: Claim, call: CallRecord, context: Any) -> None:
        principal = claim.prove(context)
        call.principal = principal.name
        set_current_principal(principal)
        self._quotas.take_call(principal)

    def _count(self, call: CallRecord, code: grpc.StatusCode, seconds: float) -> None:
        self._requests_of(call.method, code.name).inc()
        self._seconds_of(call.method).observe(seconds)
        call.code, call.total_s = code.name, seconds
        self._calls.tell(call)

    def _status(self, error: Exception, method: str, request_id: str) -> RichStatus:
        status = status_of(error, request_id)
        self._rejections_of(status.reason).inc()
        if status.code is grpc.StatusCode.INTERNAL:
            _log.error("%s failed, request id %s", method, request_id, exc_info=error)
        return status


def _read(data: bytes, deserialise: Callable[[bytes], Any], method: str) -> Any:
    """The message; gRPC would tell callers the traceback where the bytes are none."""
    try:
        return deserialise(data)
    except Exception as error:
        raise InvalidInputError(
            f"{method} should get the message of its contract. Found bytes that are none. "
            "Make the caller's code from the service's contract under proto/offpath."
        ) from error


def _accepted_id(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The caller's own id where it sent a sound one; it goes into logs, so not just anything."""
    for key, value in metadata:
        if key == REQUEST_ID_HEADER and isinstance(value, str) and _ACCEPTED_ID.fullmatch(value):
            return value
    return secrets.token_hex(_ID_BYTES)
