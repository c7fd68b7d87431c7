"""Each exception leaves as the status code that the table gives, with details for programs."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from detector.errors import BudgetError, BundleMissingError, ImageError, InvalidInputError
from service.admission import DeadlineError, DrainingError, QueueFullError
from service.batch_running import BatchFailedError
from service.errors import (
    BadBundleError,
    RequestError,
    RichStatus,
    UnknownModelError,
    Violation,
    WrongPlaceError,
    status_of,
)
from service.security.errors import (
    PermissionDeniedError,
    QuotaExceededError,
    UnauthenticatedError,
)

CASES: list[tuple[Exception, grpc.StatusCode, str]] = [
    (InvalidInputError("m", field="f"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT"),
    (ImageError("m", field="f"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_IMAGE"),
    (BudgetError("m", field="f"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_BUDGET"),
    (RequestError((Violation("f", "m"),)), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT"),
    (UnknownModelError("m"), grpc.StatusCode.NOT_FOUND, "UNKNOWN_MODEL"),
    (BadBundleError("m"), grpc.StatusCode.FAILED_PRECONDITION, "BAD_BUNDLE"),
    (WrongPlaceError("m"), grpc.StatusCode.FAILED_PRECONDITION, "WRONG_PLACE"),
    (UnauthenticatedError(), grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    (PermissionDeniedError("m"), grpc.StatusCode.PERMISSION_DENIED, "MISSING_RIGHT"),
    (
        QuotaExceededError("m", retry_after_s=1),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "QUOTA_EXCEEDED",
    ),
    (QueueFullError("m", retry_after_s=1), grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL"),
    (DeadlineError("m"), grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_TOO_SHORT"),
    (DrainingError("m"), grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN"),
    (BatchFailedError("m"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    (BundleMissingError("m"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    (ValueError("m"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    (AssertionError("m"), grpc.StatusCode.INTERNAL, "INTERNAL"),
]


def detail(status: RichStatus, kind: Any) -> Any:
    """The status's detail of a kind, or None."""
    packed = dict(status.trailing_metadata)["grpc-status-details-bin"]
    for each in status_pb2.Status.FromString(packed).details:
        message = kind()
        if each.Unpack(message):
            return message
    return None


@pytest.mark.parametrize(
    ("error", "code", "reason"), CASES, ids=[type(case[0]).__name__ for case in CASES]
)
def test_an_exception_has_the_code_and_reason_of_the_table(
    error: Exception, code: grpc.StatusCode, reason: str
) -> None:
    status = status_of(error, "r1")
    assert status.code is code
    info = detail(status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, info.metadata["request_id"]) == (reason, "offpath", "r1")


@pytest.mark.parametrize("error", [ValueError("inner text"), BundleMissingError("inner text")])
def test_an_unexpected_error_tells_its_request_id_and_nothing_of_its_text(error: Exception) -> None:
    status = status_of(error, "r1")
    assert "r1" in status.message
    assert "inner" not in status.message + str(status.trailing_metadata)


def test_an_invalid_input_names_its_field() -> None:
    status = status_of(BudgetError("too small", field="alpha"), "r1")
    (violation,) = detail(status, error_details_pb2.BadRequest).field_violations
    assert (violation.field, violation.description) == ("alpha", "too small")


def test_a_request_with_several_faults_names_all_of_them() -> None:
    violations = tuple(Violation(f"images[{i}].encoded", "broken") for i in range(3))
    status = status_of(RequestError(violations), "r1")
    found = detail(status, error_details_pb2.BadRequest).field_violations
    assert [each.field for each in found] == [each.field for each in violations]


def test_a_status_with_very_many_faults_still_fits_into_the_trailers() -> None:
    violations = tuple(Violation(f"images[{i}].encoded", "x" * 300) for i in range(64))
    status = status_of(RequestError(violations), "r1")
    assert sum(len(value) for _, value in status.trailing_metadata) < 4096


@pytest.mark.parametrize("kind", [QueueFullError, QuotaExceededError])
def test_what_is_full_says_when_to_try_again(kind: type[Exception]) -> None:
    status = status_of(kind("full", retry_after_s=1.5), "r1")
    retry = detail(status, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 1500
