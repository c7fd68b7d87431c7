"""The load generator sends what it was told, and its times leave no wait out."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from offpath.v1 import detection_pb2 as pb
from rich.console import Console

from detector.errors import ImageError, InvalidInputError
from service import cli
from service.admission import QueueFullError
from service.errors import status_of
from service.load import ClosedLoop, LoadPlan, LoadReport, OpenLoop, run_load
from service.load.report import Outcome
from service.load.requests import SAMPLES, payloads, pixels_of
from service.load.run import Payload
from service.load.table import load_table

_STALL_S = 0.5
_TWO = (Payload(b"one", 1), Payload(b"two", 1))


@asynccontextmanager
async def answering(answer: Callable[[bytes, Any], Any]) -> AsyncIterator[str]:
    """A server that answers Detect with what a coroutine function gives; its address."""
    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler(
        "offpath.v1.DetectionService", {"Detect": grpc.unary_unary_rpc_method_handler(answer)}
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def measured(answer: Callable[[bytes, Any], Any], plan: LoadPlan) -> LoadReport:
    async def measure() -> LoadReport:
        async with answering(answer) as address:
            return await run_load(address, _TWO, plan)

    return asyncio.run(measure())


def test_calls_come_at_the_rate_at_even_or_at_random_moments():
    even = list(itertools.islice(OpenLoop(rate=200, poisson=False).moments(), 2000))
    assert even == pytest.approx([(n + 1) / 200 for n in range(2000)])
    gaps = np.diff(list(itertools.islice(OpenLoop(rate=200, seed=1).moments(), 20_000)))
    # Exponential gaps: mean and standard deviation are one over the rate, each within 5 sigma.
    assert gaps.mean() == pytest.approx(1 / 200, rel=5 / np.sqrt(len(gaps)))
    assert gaps.std() == pytest.approx(1 / 200, rel=5 * np.sqrt(2 / len(gaps)))


def test_figures_are_of_the_calls_due_within_the_measurement():
    outcomes = [
        Outcome(-0.5, -0.5, 0.1, "OK", 2),  # of the warm-up, answered within: throughput alone
        Outcome(0.0, 0.1, 0.4, "OK", 2),
        Outcome(0.5, 0.5, 0.6, "RESOURCE_EXHAUSTED", 2, told_to_retry=True),
        Outcome(1.9, 1.9, 2.4, "OK", 2),  # answered behind the end: all but throughput
        Outcome(2.0, 2.0, 2.1, "OK", 2),  # due behind the end
    ]
    report = LoadReport.of(outcomes, 2.0)
    assert report.calls == 3
    assert report.codes == {"OK": 2, "RESOURCE_EXHAUSTED": 1}
    assert report.told_to_retry == 1
    assert (report.calls_per_s, report.images_per_s) == (1.0, 2.0)
    assert report.latency_ms["p50"] == pytest.approx(400)
    assert report.latency_ms["max"] == pytest.approx(500)
    assert report.lateness_ms["max"] == pytest.approx(100)


def test_a_load_without_an_answer_has_no_times():
    report = LoadReport.of([Outcome(0.0, 0.0, 0.1, "UNAVAILABLE", 1)], 1.0)
    assert report.latency_ms == {}
    assert json.loads(json.dumps(report.to_json()))["codes"] == {"UNAVAILABLE": 1}


def test_callers_of_a_closed_loop_wait_for_their_answers():
    most = active = 0

    async def answer(_request: bytes, _context: Any) -> bytes:
        nonlocal most, active
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.01)
        active -= 1
        return b""

    report = measured(answer, LoadPlan(load=ClosedLoop(callers=3), seconds=0.4, warm_up_s=0.1))
    assert most == 3
    assert set(report.codes) == {"OK"}


def test_payloads_go_in_turn_and_codes_are_counted():
    seen: list[bytes] = []

    async def answer(request: bytes, context: Any) -> bytes:
        seen.append(request)
        if request == b"two":
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return b""

    report = measured(answer, LoadPlan(load=ClosedLoop(callers=1), seconds=0.3, warm_up_s=0))
    assert seen[:4] == [b"one", b"two", b"one", b"two"]
    assert set(report.codes) == {"OK", "RESOURCE_EXHAUSTED"}
    assert abs(report.codes["OK"] - report.codes["RESOURCE_EXHAUSTED"]) <= 1


def test_refusals_that_tell_when_to_retry_are_told_from_those_that_do_not():
    busy = status_of(QueueFullError("full", retry_after_s=1.5), "id")

    async def answer(request: bytes, context: Any) -> bytes:
        details = busy.trailing_metadata if request == b"two" else ()
        return await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", details)

    report = measured(answer, LoadPlan(load=ClosedLoop(callers=2), seconds=0.3, warm_up_s=0))
    assert set(report.codes) == {"RESOURCE_EXHAUSTED"}
    assert abs(2 * report.told_to_retry - report.calls) <= 2


def test_an_open_loop_does_not_spare_a_server_the_calls_that_it_held_up():
    started = time.perf_counter()
    until = started + 0.3 + _STALL_S

    async def stalls(_request: bytes, _context: Any) -> bytes:
        if time.perf_counter() > started + 0.3:
            await asyncio.sleep(max(0.0, until - time.perf_counter()))
        return b""

    load = OpenLoop(rate=100, poisson=False)
    report = measured(stalls, LoadPlan(load=load, seconds=1.5, warm_up_s=0))
    # Calls come on all through the stall: a third of them waited, half of these half of it.
    assert report.calls == 149
    assert report.latency_ms["p90"] > 1e3 * _STALL_S / 4
    assert report.latency_ms["max"] > 1e3 * _STALL_S / 2


def test_what_cannot_be_held_in_flight_is_counted_and_not_sent():
    arrived = 0

    async def never(_request: bytes, _context: Any) -> bytes:
        nonlocal arrived
        arrived += 1
        await asyncio.sleep(60)
        return b""

    load = OpenLoop(rate=200, poisson=False, most_in_flight=5)
    plan = LoadPlan(load=load, seconds=0.5, warm_up_s=0, timeout_s=0.8)
    report = measured(never, plan)
    assert report.codes["DEADLINE_EXCEEDED"] == arrived == 5
    assert report.codes["NOT_SENT"] == report.calls - 5


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: ClosedLoop(callers=0), "callers"),
        (lambda: OpenLoop(rate=0), "rate"),
        (lambda: OpenLoop(rate=1, most_in_flight=0), "most_in_flight"),
        (lambda: LoadPlan(load=ClosedLoop(callers=1), seconds=0), "seconds"),
        (lambda: LoadPlan(load=ClosedLoop(callers=1), timeout_s=-1), "timeout_s"),
        (lambda: LoadPlan(load=ClosedLoop(callers=1), warm_up_s=-1), "warm_up_s"),
        (lambda: asyncio.run(run_load("x", [], LoadPlan(load=ClosedLoop(callers=1)))), "images"),
    ],
)
def test_a_load_that_cannot_be_is_refused(make, field):
    with pytest.raises(InvalidInputError) as caught:
        make()
    assert caught.value.field == field


def test_requests_hold_the_images_as_files_or_as_pixels():
    files = sorted(SAMPLES.glob("*.png"))[:3]
    sent = payloads(files, batch=2)
    assert [each.images for each in sent] == [2, 2, 2]
    last = pb.DetectRequest.FromString(sent[-1].data)
    assert [each.encoded for each in last.images] == [
        files[2].read_bytes(), files[0].read_bytes(),
    ]  # fmt: skip
    raw = pb.DetectRequest.FromString(payloads([pixels_of(files[0])])[0].data).images[0].raw
    assert (raw.height, raw.width, raw.data) == (32, 32, pixels_of(files[0]).tobytes())


def test_a_file_that_is_no_image_is_named(tmp_path: Path):
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"x\.png should be an image file"):
        pixels_of(tmp_path / "x.png")


def test_the_table_fits_a_terminal():
    report = LoadReport.of([Outcome(0.0, 0.0, 0.25, "OK", 1)], 1.0)
    console = Console(width=80)
    with console.capture() as shown:
        console.print(load_table(report))
    lines = shown.get().splitlines()
    assert lines[0].strip() == "1 images/s in 1 calls/s, over 1 s: 1 OK."
    assert "p99.9" in lines[1]
    assert "250.00" in next(line for line in lines if line.startswith("due to answered"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--callers", "1", "--rate", "5"], "--callers and --rate"),
        (["--rate", "-1"], "rate should be positive"),
        (["no/such.png"], "no/such.png"),
        ([], "127.0.0.1:1"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(options, named, capsys):
    assert cli.run(["bench", "127.0.0.1:1", *options]) == 2
    assert named in " ".join(capsys.readouterr().err.split())
