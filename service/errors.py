"""From exceptions to gRPC status: one table, with details that programs can read.

What is not in the table is INTERNAL and says nothing but its request id: the inner text of an
error would tell an attacker how the network answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from detector.errors import BudgetError, ImageError, InvalidInputError, OffpathError
from service.admission import DeadlineError, DrainingError, QueueFullError
from service.campaigns import CampaignError
from service.security.errors import (
    PermissionDeniedError,
    QuotaExceededError,
    UnauthenticatedError,
)

__all__ = [
    "INTERNAL_REASON",
    "STATUS_TABLE",
    "BadBundleError",
    "RequestError",
    "RichStatus",
    "StartError",
    "UnknownModelError",
    "Violation",
    "WrongPlaceError",
    "status_of",
]

INTERNAL_REASON = "INTERNAL"
"""Reason of an exception that is not in the table."""

_DOMAIN = "offpath"
# Trailers share gRPC's 8 KiB for headers: more violations would lose the whole status.
_MOST_VIOLATIONS = 8


class StartError(OffpathError):
    """The server cannot start, as when its port is in use."""


class UnknownModelError(OffpathError):
    """A caller asks for a model that is not served, or for another version of it."""


class BadBundleError(OffpathError):
    """A bundle cannot take over from the one that answers; what was loaded stays."""


class WrongPlaceError(OffpathError):
    """A bundle is not where it would have to be for what is asked."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One field at fault, such as ``images[2].encoded``, and what is wrong with it."""

    field: str
    description: str


class RequestError(InvalidInputError):
    """A request has several fields at fault.

    Args:
        violations: The fields, at least one.
    """

    def __init__(self, violations: tuple[Violation, ...]) -> None:
        super().__init__(violations[0].description, field=violations[0].field)
        self.violations = violations


@dataclass(frozen=True, kw_only=True, slots=True)
class RichStatus:
    """What a caller is told about an error.

    Args:
        code: The gRPC status code.
        reason: The cause in one word, for programs.
        message: The cause in a sentence, for people.
        trailing_metadata: The same with details, as gRPC sends it.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    trailing_metadata: tuple[tuple[str, Any], ...]


STATUS_TABLE: tuple[tuple[type[OffpathError], grpc.StatusCode, str], ...] = (
    (BudgetError, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_BUDGET"),
    (ImageError, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_IMAGE"),
    (InvalidInputError, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT"),
    (UnknownModelError, grpc.StatusCode.NOT_FOUND, "UNKNOWN_MODEL"),
    (BadBundleError, grpc.StatusCode.FAILED_PRECONDITION, "BAD_BUNDLE"),
    (WrongPlaceError, grpc.StatusCode.FAILED_PRECONDITION, "WRONG_PLACE"),
    (UnauthenticatedError, grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    (PermissionDeniedError, grpc.StatusCode.PERMISSION_DENIED, "MISSING_RIGHT"),
    (QuotaExceededError, grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"),
    (QueueFullError, grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL"),
    (CampaignError, grpc.StatusCode.RESOURCE_EXHAUSTED, "CAMPAIGN"),
    (DeadlineError, grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_TOO_SHORT"),
    (DrainingError, grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN"),
)
"""Status code and reason of each exception; the first row that fits counts."""


def status_of(error: Exception, request_id: str) -> RichStatus:
    """What the caller of a failed call is told.

    Args:
        error: What went wrong.
        request_id: Name of the call in the log.
    """
    for kind, code, reason in STATUS_TABLE:
        if isinstance(error, kind):
            return _rich(code, reason, str(error), request_id, _details(error))
    message = f"The server failed. Its log knows more under the request id {request_id}."
    return _rich(grpc.StatusCode.INTERNAL, INTERNAL_REASON, message, request_id, [])


def _details(error: Exception) -> list[Message]:
    match error:
        case RequestError():
            return [_bad_request(error.violations)]
        case InvalidInputError():
            return [_bad_request((Violation(error.field, str(error)),))]
        case QueueFullError() | QuotaExceededError() | CampaignError():
            delay = Duration()
            delay.FromNanoseconds(int(error.retry_after_s * 1e9))
            return [error_details_pb2.RetryInfo(retry_delay=delay)]
        case _:
            return []


def _bad_request(violations: tuple[Violation, ...]) -> Message:
    fields = [
        error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
        for v in violations[:_MOST_VIOLATIONS]
    ]
    details: Message = error_details_pb2.BadRequest(field_violations=fields)
    return details


def _rich(
    code: grpc.StatusCode, reason: str, message: str, request_id: str, details: list[Message]
) -> RichStatus:
    info = error_details_pb2.ErrorInfo(
        reason=reason, domain=_DOMAIN, metadata={"request_id": request_id}
    )
    status = status_pb2.Status(
        code=code.value[0], message=message, details=[_packed(d) for d in (info, *details)]
    )
    return RichStatus(
        code=code,
        reason=reason,
        message=message,
        trailing_metadata=tuple(rpc_status.to_status(status).trailing_metadata),
    )


def _packed(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
