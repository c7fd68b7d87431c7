"""What the log leaves out when a server turns most calls away."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from service.security.call_log import CallLog
from service.security.call_record import CallRecord


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time


def call(reason: str) -> CallRecord:
    return CallRecord(method="Detect", request_id="r", reason=reason)


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[CallRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert isinstance(record.msg, CallRecord)
        self.calls.append(record.msg)


@pytest.fixture
def written() -> Iterator[list[CallRecord]]:
    lines, log = Lines(), logging.getLogger("service.security.call_log")
    level = log.level
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    log.propagate = False
    yield lines.calls
    log.propagate = True
    log.setLevel(level)
    log.removeHandler(lines)


@pytest.mark.parametrize("reason", ["QUEUE_FULL", "DEADLINE_TOO_SHORT"])
def test_calls_that_load_turned_away_are_lines_up_to_ten_a_second_and_the_next_tells_how_many_more(
    written: list[CallRecord], reason: str
) -> None:
    clock = Clock()
    log = CallLog(clock.now)
    for _ in range(1000):
        log.tell(call(reason))
    assert len(written) == 100  # at once, after a pause
    clock.time = 2.0
    for _ in range(1000):
        log.tell(call(reason))
    assert len(written) == 120
    assert [each.left_out for each in written] == [*[0] * 100, 900, *[0] * 19]
    assert written[100].fields()["left_out"] == 900
    assert "left_out" not in written[101].fields()


@pytest.mark.parametrize("reason", ["", "UNAUTHENTICATED", "INVALID_IMAGE", "INTERNAL"])
def test_every_other_call_is_a_line_however_many_there_are(
    written: list[CallRecord], reason: str
) -> None:
    log = CallLog(Clock().now)
    for _ in range(1000):
        log.tell(call("QUEUE_FULL"))
        log.tell(call(reason))
    assert sum(each.reason == reason for each in written) == 1000
    assert not any(each.left_out for each in written)
