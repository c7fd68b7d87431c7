"""From a failed gRPC call to one of the clients' errors."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from service.results import (
    CallError,
    FieldViolation,
    InvalidRequestError,
    MessageTooLargeError,
    PermissionDeniedError,
    QuotaExceededError,
    RefusedChangeError,
    RequestTimeoutError,
    ServerBusyError,
    ServerFailureError,
    ServerUnavailableError,
    UnauthenticatedError,
)
from service.unreachable import unreachable

__all__ = ["call_error"]

_DETAILS_KEY = "grpc-status-details-bin"
_ID_KEY = "x-request-id"
_QUOTA = "QUOTA_EXCEEDED"


def call_error(error: Any, address: str, *, tls: bool) -> CallError:
    """The error that a client raises for a failed call.

    Args:
        error: What gRPC raised, of either kind of client.
        address: Where the call went.
        tls: Whether the connection was to be encrypted.
    """
    code: grpc.StatusCode = error.code()
    text = error.details() or code.name
    trailers = {str(key): value for key, value in error.trailing_metadata() or ()}
    request_id = str(trailers.get(_ID_KEY, ""))
    details = _details(trailers.get(_DETAILS_KEY))
    match code:
        case grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidRequestError(text, violations=_violations(details), request_id=request_id)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return _exhausted(text, address, details, request_id)
        case (
            grpc.StatusCode.UNAUTHENTICATED
            | grpc.StatusCode.PERMISSION_DENIED
            | grpc.StatusCode.FAILED_PRECONDITION
        ):
            return _refused(code, text, address, request_id)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return RequestTimeoutError(
                f"{address} should answer within the timeout. Found no answer in time ({text}). "
                "Allow more time with timeout_s or try later.",
                request_id=request_id,
            )
        # A stopping server cancels what has not reached its handlers; callers' own cancellations
        # never come here.
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            return ServerUnavailableError(
                unreachable(address, text, tls=tls), request_id=request_id
            )
        case _:
            return ServerFailureError(_failure(code, text, address), request_id=request_id)


def _failure(code: grpc.StatusCode, text: str, address: str) -> str:
    if code is not grpc.StatusCode.UNIMPLEMENTED:
        return f"{address} failed: {text}"
    return (
        f"{address} should answer this method. Found that it does not ({text}). Give the port of "
        "`offpath serve --port` for calls and health, and that of `offpath serve --admin-port` for "
        "`offpath admin`."
    )


def _exhausted(
    text: str, address: str, details: tuple[AnyMessage, ...], request_id: str
) -> CallError:
    retry_after_s = _retry_s(details)
    if retry_after_s is not None:
        kind = QuotaExceededError if _reason(details) == _QUOTA else ServerBusyError
        return kind(text, retry_after_s=retry_after_s, request_id=request_id)
    # gRPC's own refusal, on either side, never reaches the code that would add details.
    return MessageTooLargeError(
        f"Messages to and from {address} should fit into the limits of both sides. "
        f"Found: {text}. Send fewer or smaller images at once, or raise max_message_bytes.",
        request_id=request_id,
    )


def _refused(code: grpc.StatusCode, text: str, address: str, request_id: str) -> CallError:
    if code is grpc.StatusCode.PERMISSION_DENIED:
        return PermissionDeniedError(text, request_id=request_id)
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return RefusedChangeError(text, request_id=request_id)
    return UnauthenticatedError(
        f"{address} does not know this caller. {text}", request_id=request_id
    )


def _details(packed: str | bytes | None) -> tuple[AnyMessage, ...]:
    if not isinstance(packed, bytes):
        return ()
    return tuple(status_pb2.Status.FromString(packed).details)


def _violations(details: tuple[AnyMessage, ...]) -> tuple[FieldViolation, ...]:
    message = error_details_pb2.BadRequest()
    for detail in details:
        if detail.Unpack(message):
            return tuple(FieldViolation(v.field, v.description) for v in message.field_violations)
    return ()


def _reason(details: tuple[AnyMessage, ...]) -> str:
    message = error_details_pb2.ErrorInfo()
    return next((str(message.reason) for detail in details if detail.Unpack(message)), "")


def _retry_s(details: tuple[AnyMessage, ...]) -> float | None:
    message = error_details_pb2.RetryInfo()
    for detail in details:
        if detail.Unpack(message):
            return float(message.retry_delay.ToNanoseconds()) / 1e9
    return None
