"""Each call is one line that programs can read, and no line tells a token or an image."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc
from PIL import Image, TiffImagePlugin

from detector.images import decode_image
from service.security.call_record import CallRecord, current_call
from service.security.logs import JsonFormatter, LogFormat, LogLevel, configure_logging


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Everything that is logged, as JSON, at the most talkative level."""
    stream = io.StringIO()
    loggers = [logging.getLogger(name) for name in ("", "service", "detector")]
    root, levels = loggers[0], [logger.level for logger in loggers]
    handlers, root.handlers = root.handlers, []
    monkeypatch.setattr("sys.stderr", stream)
    configure_logging(LogFormat.JSON, LogLevel.DEBUG)
    yield stream
    root.handlers = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def calls(stream: io.StringIO) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [line for line in lines if line["event"] == "call"]


@pytest.fixture
async def stub(start: Callable[..., Any], principals_file: Path) -> AsyncIterator[Any]:
    server = await start(principals=principals_file)
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield pb_grpc.DetectionServiceStub(channel)


async def test_a_call_is_one_line_that_tells_who_what_and_how_long(
    written: io.StringIO, stub: Any, images: Any, bearer: Any
) -> None:
    sent = [pb.Image(encoded=images.png(0, score)) for score in (1, 2, 200)]
    await stub.Detect(
        pb.DetectRequest(images=sent, level=pb.LEVEL_THOROUGH),
        metadata=(*bearer("plain-token"), ("x-request-id", "call-7")),
    )
    (line,) = calls(written)
    assert line["level"] == "info"
    assert (line["method"], line["code"], line["principal"]) == ("Detect", "OK", "plain")
    assert (line["request_id"], line["images"], line["detection_level"]) == (
        "call-7",
        3,
        "thorough",
    )
    assert line["verdicts"] == {"on_path": 2, "off_path": 1}
    assert line["peer"].startswith("ipv4:127.0.0.1:")
    assert line["time"].endswith("+00:00")
    assert 0 < line["decode_ms"] < line["total_ms"]
    assert 0 < line["analysis_ms"] < line["total_ms"]
    assert 0 <= line["queue_ms"] < line["total_ms"]
    assert "reason" not in line


async def test_a_refused_call_is_a_line_with_its_reason(
    written: io.StringIO, stub: Any, images: Any, bearer: Any
) -> None:
    wish = pb.DetectRequest(images=[pb.Image(encoded=images.png())], include_path=True)
    for metadata in ((), bearer("plain-token")):
        await asyncio.gather(stub.Detect(wish, metadata=metadata), return_exceptions=True)
    first, second = calls(written)
    assert (first["code"], first["reason"]) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
    assert "principal" not in first
    assert (second["code"], second["reason"]) == ("PERMISSION_DENIED", "MISSING_RIGHT")
    assert second["principal"] == "plain"


async def test_no_line_tells_a_token_or_an_image(
    written: io.StringIO, stub: Any, images: Any, bearer: Any
) -> None:
    marked = b"the bytes of an image"
    broken = images.png(images.failing_pixel)
    for data in (images.png(), marked, broken):
        for token in ("full-token", "a-wrong-token"):
            call = stub.Detect(
                pb.DetectRequest(images=[pb.Image(encoded=data)]), metadata=bearer(token)
            )
            await asyncio.gather(call, return_exceptions=True)
    text = written.getvalue()
    assert len(calls(written)) == 6
    for secret in ("full-token", "wrong-token", "the bytes", "PNG", "IHDR"):
        assert secret not in text
    failed = [json.loads(line) for line in text.splitlines() if "exception" in line]
    assert any("the secret of the network" in line["exception"] for line in failed)


async def test_a_cancelled_call_is_a_line_too(
    written: io.StringIO, stub: Any, images: Any, bearer: Any, pipeline: Any, until: Any
) -> None:
    pipeline.open.clear()
    call = stub.Detect(
        pb.DetectRequest(images=[pb.Image(encoded=images.png())]), metadata=bearer("full-token")
    )
    await asyncio.gather(asyncio.wait_for(call, 0.3), return_exceptions=True)
    pipeline.open.set()

    async def lines() -> list[dict[str, Any]]:
        return calls(written)

    await until(lines, bool)
    assert calls(written)[0]["code"] == "CANCELLED"


async def test_health_checks_write_nothing(written: io.StringIO, start: Any) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    server = await start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert calls(written) == []


def test_at_the_most_talkative_level_other_libraries_stay_quiet(written: io.StringIO) -> None:
    logging.getLogger("PIL.PngImagePlugin").debug("an image's title")
    logging.getLogger("service.batcher").debug("our own")
    (line,) = written.getvalue().splitlines()
    assert json.loads(line)["message"] == "our own"


def test_odd_tags_in_a_file_leave_no_line_and_nothing_in_memory(written: io.StringIO) -> None:
    """Each of them would leave both, as no two texts of Pillow's warnings are the same."""
    for tag in range(0x9000, 0x9010):
        entry = struct.pack("<HHII", tag, 2, 1000, 26)
        exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "JPEG", exif=exif)
        assert decode_image(file.getvalue()).shape == (3, 8, 8)
    assert written.getvalue() == ""
    kept = vars(TiffImagePlugin).get("__warningregistry__", {})
    assert not [entry for entry in kept if entry != "version"]


@pytest.mark.parametrize("text", ["two\nlines", 'a "quote"', "{", "\x1b[31mred", "ä\u2028\ud800"])
def test_a_line_stays_one_line_of_json_whatever_is_logged(text: str) -> None:
    record = logging.LogRecord("name", logging.WARNING, "file", 1, "%s", (text,), None)
    line = JsonFormatter().format(record)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == text
    assert json.loads(line)["level"] == "warning"


def test_a_call_is_one_line_for_people_as_well() -> None:
    call = CallRecord(method="Detect", request_id="r1", code="OK", images=2, total_s=0.0125)
    call.verdicts["on_path"] += 2
    assert str(call) == (
        "method=Detect code=OK request_id=r1 images=2 verdicts=on_path:2 total_ms=12.5"
    )


def test_what_is_noted_outside_of_a_call_is_forgotten() -> None:
    current_call().images = 5
    assert current_call().images == 0
