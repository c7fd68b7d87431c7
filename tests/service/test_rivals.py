"""The servers that Offpath is measured beside are sound, and so is what is made of the figures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import psutil
import pytest
import torch
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc
from torch import Tensor

from detector.bundle import DEFAULT_BUNDLE, load_bundle
from service.load import LoadReport
from tests.figures import rivals
from tests.figures.callers import say
from tests.figures.grpc_by_hand import BatchingQueue, HandWritten
from tests.figures.http_callers import load_report, wait_until_healthy
from tests.figures.other_servers import OtherServer
from tests.figures.rivals import rival_figures
from tests.figures.served_models import served_model
from tests.figures.serving import png

PIXELS = torch.randint(0, 256, (5, 32, 32, 3), generator=torch.Generator().manual_seed(7))
FILES = [png(each) for each in PIXELS.to(torch.uint8).numpy()]
IMAGES = PIXELS.to(torch.uint8).permute(0, 3, 1, 2)
LONG_S = 600.0


@contextlib.asynccontextmanager
async def batching(
    answers: Callable[[Sequence[int]], list[int]], **options: Any
) -> AsyncIterator[BatchingQueue[int, int]]:
    queue = BatchingQueue(answers, **options)
    running = asyncio.create_task(queue.run())
    yield queue
    running.cancel()


async def test_a_full_batch_waits_for_nobody() -> None:
    batches: list[list[int]] = []

    def doubled(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        return [2 * item for item in items]

    async with batching(doubled, max_batch=3, window_s=LONG_S) as queue:
        found = await asyncio.gather(*(queue.answer(item) for item in range(6)))
    assert found == [0, 2, 4, 6, 8, 10]
    assert batches == [[0, 1, 2], [3, 4, 5]]


async def test_a_batch_that_nobody_joins_goes_when_its_window_is_over() -> None:
    async with batching(list, max_batch=3, window_s=0.01) as queue:
        assert await queue.answer(1) == 1


async def test_a_caller_who_leaves_and_a_batch_that_fails_harm_nobody_else() -> None:
    def positive(items: Sequence[int]) -> list[int]:
        if min(items) < 0:
            raise ValueError("negative")
        return list(items)

    async with batching(positive, max_batch=2, window_s=LONG_S) as queue:
        failed = await asyncio.gather(queue.answer(-1), queue.answer(1), return_exceptions=True)
        assert [type(each) for each in failed] == [ValueError, ValueError]
        leaving = asyncio.create_task(queue.answer(2))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await queue.answer(3) == 3


async def call(servicer: HandWritten, *files: bytes) -> pb.DetectResponse:
    server = grpc.aio.server()
    detection_pb2_grpc.add_DetectionServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    request = pb.DetectRequest(images=[pb.Image(encoded=file) for file in files])
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            return await detection_pb2_grpc.DetectionServiceStub(channel).Detect(request)
    finally:
        await server.stop(None)


@pytest.mark.parametrize("batched", [False, True])
async def test_predictions_by_hand_are_those_of_the_bundles_backbone(batched: bool) -> None:
    pipeline = load_bundle().pipeline
    with torch.inference_mode():
        expected = pipeline.network.detach_hooks()(pipeline.preprocessing(IMAGES))
    model = served_model(DEFAULT_BUNDLE, "predictions")
    queue = BatchingQueue[Tensor, Any](model.answers, max_batch=5, window_s=LONG_S)
    running = asyncio.create_task(queue.run())
    reply = await call(HandWritten(model, queue if batched else None), *FILES)
    running.cancel()
    found = [each.predicted_class for each in reply.detections]
    assert found == expected.argmax(dim=1).tolist()
    assert [each.label for each in reply.detections] == [pipeline.class_names[i] for i in found]


async def test_verdicts_by_hand_are_those_of_the_pipeline() -> None:
    pipeline = load_bundle().pipeline
    findings = pipeline.analyse(IMAGES[:1])
    expected = pipeline.detect(findings, 0)
    reply = await call(HandWritten(served_model(DEFAULT_BUNDLE, "verdicts"), None), FILES[0])
    (found,) = reply.detections
    assert pb.Verdict.Name(found.verdict) == f"VERDICT_{expected.verdict.name}"
    assert (found.score, found.p_value) == (expected.score, expected.p_value)


async def test_what_is_no_image_is_the_callers_fault() -> None:
    servicer = HandWritten(served_model(DEFAULT_BUNDLE, "predictions"), None)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call(servicer, b"no image")
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


class Answering(BaseHTTPRequestHandler):
    """Healthy; answers a number with itself, and a 0 with an error."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.reply(200, b"ok")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(200 if json.loads(body) else 500, body)

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def http_address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_callers_over_http_count_what_was_answered_after_the_warm_up(http_address: str) -> None:
    wait_until_healthy(http_address)
    report = load_report(http_address, ["1", "2"], callers=3, seconds=0.3, warm_up_s=0.1)
    assert set(report.codes) == {"OK"}
    assert report.calls == report.codes["OK"] > 0
    assert 0 < report.latency_ms["p50"] <= report.latency_ms["p99"]


def test_a_call_over_http_that_fails_ends_the_measurement(http_address: str) -> None:
    with pytest.raises(RuntimeError, match="should be answered"):
        load_report(http_address, ["0"], callers=2, seconds=0.3, warm_up_s=0.0)


def test_a_server_that_answers_nobody_in_time_is_no_figure() -> None:
    with pytest.raises(RuntimeError, match="Found none"):
        say(LoadReport.of([], 3.0), callers=32)


def test_nobody_at_an_address_is_told_in_time() -> None:
    with pytest.raises(TimeoutError, match="should be healthy"):
        wait_until_healthy("127.0.0.1:1", timeout_s=0.2)


FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def states(*processes: psutil.Process, wanted: set[str]) -> set[str]:
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        found = {each.status() if each.is_running() else "gone" for each in processes}
        if found <= wanted:
            break
        time.sleep(0.01)
    return found


def test_a_server_sleeps_between_its_turns_and_ends_with_all_that_it_started() -> None:
    with OtherServer(("-c", FAMILY), on=min(os.sched_getaffinity(0))) as server:
        child = psutil.Process(int(server.address))
        family = (child, child.parent())
        with server.awake():
            assert psutil.STATUS_STOPPED not in states(*family, wanted={psutil.STATUS_SLEEPING})
        assert states(*family, wanted={psutil.STATUS_STOPPED}) == {psutil.STATUS_STOPPED}
    gone = {"gone", psutil.STATUS_ZOMBIE}  # nobody may be there to collect an orphan
    assert states(*family, wanted=gone) <= gone


def test_a_server_that_does_not_start_is_told() -> None:
    with (
        OtherServer(("-c", "pass"), on=min(os.sched_getaffinity(0))) as server,
        pytest.raises(RuntimeError, match="should start"),
    ):
        _ = server.address


def test_a_ratio_is_of_one_round_and_the_median_of_them_counts() -> None:
    """The machine was ten times as fast in one round: no ratio changes by that."""
    rounds = [
        {"PNG@standard": 120.0, "PNG@fast": 200.0, "plain": 240.0, "whole": 100.0},
        {"PNG@standard": 1100.0, "PNG@fast": 2000.0, "plain": 2000.0, "whole": 1000.0},
        {"PNG@standard": 90.0, "PNG@fast": 180.0, "plain": 150.0, "whole": 100.0},
    ]
    plain, whole = rival_figures(rounds, {"plain": False, "whole": True})
    assert plain.measured == (
        "0.55 times, rounds 0.50 to 0.60, at standard (120 images/s); "
        "1.00 times, rounds 0.83 to 1.20, at fast (200 images/s); it 240"
    )
    assert plain.holds is None
    assert whole.measured == "1.10 times, rounds 0.90 to 1.20, at standard (120 images/s); it 100"
    assert whole.holds is True


def test_a_slower_offpath_is_short_only_where_the_work_is_the_same() -> None:
    rounds = [{"PNG@standard": 90.0, "PNG@fast": 95.0, "plain": 100.0, "whole": 100.0}]
    plain, whole = rival_figures(rounds, {"plain": False, "whole": True})
    assert (plain.holds, whole.holds) == (None, False)


def test_litserve_that_is_not_installed_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    @contextlib.contextmanager
    def nobody(_: Any, others: Any) -> Iterator[dict[str, Any]]:
        asked.extend(others)
        yield {}

    round_ = {"PNG@standard": 2.0, "PNG@fast": 2.0}
    monkeypatch.setattr(rivals.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(rivals, "resnet20", contextlib.nullcontext)
    monkeypatch.setattr(rivals, "_contenders", nobody)
    monkeypatch.setattr(
        rivals, "_measured", lambda _: [round_ | {each.name: 1.0 for each in asked}]
    )
    figures = rivals.rivals(None)
    assert not any("LitServe" in each.name for each in asked)
    told = [each for each in figures if "LitServe" in each.name]
    assert len(told) == 2
    assert all(each.measured == "not measured: LitServe is not installed here" for each in told)
    assert all(each.outcome == "reported" for each in told)
