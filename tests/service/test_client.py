"""Both clients speak in plain data and raise errors that say whether to try again."""

from __future__ import annotations

import asyncio
import functools
import socket
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.errors import ImageError, OffpathError
from service.client import AsyncClient, Client
from service.results import (
    InvalidRequestError,
    Level,
    MessageTooLargeError,
    Priority,
    RequestTimeoutError,
    ServerBusyError,
    ServerFailureError,
    ServerUnavailableError,
    Verdict,
)
from service.server import DetectionServer


def metrics_of(server: DetectionServer) -> str:
    with urllib.request.urlopen(server.metrics_url) as reply:
        return str(reply.read().decode())


async def test_a_blocking_client_sends_bytes_files_and_pixels(
    server: DetectionServer, images: Any, tmp_path: Path
) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(images.png(1, 2))

    def work() -> None:
        with Client(server.address) as client:
            reply = client.detect(
                [images.png(0, 1), file, images.pixels(2, 199)],
                include_path=True,
                include_layers=True,
            )
            assert [d.label for d in reply.detections] == ["cat", "dog", "ship"]
            assert [d.verdict for d in reply.detections] == [
                Verdict.ON_PATH,
                Verdict.ON_PATH,
                Verdict.OFF_PATH,
            ]
            second = reply.detections[0].path[1]
            assert second.open_gates == tuple(value > 0 for value in second.logits)
            assert len(second.activations) == 9
            assert reply.detections[0].layers[0].name == "second"
            assert {(d.level, d.passes) for d in reply.detections} == {(Level.STANDARD, 2)}
            bundle = client.bundle()
            assert bundle.classes[2].calibration_images == 50
            assert bundle.default_level is Level.STANDARD
            assert [(each.level, each.passes) for each in bundle.levels] == [
                (Level.STANDARD, 2),
                (Level.THOROUGH, 4),
            ]
            assert bundle.levels[0].copies == ("flip",)
            assert bundle.levels[1].milliseconds_per_image > 0

    await asyncio.to_thread(work)


async def test_an_asynchronous_client_gives_the_same(server: DetectionServer, images: Any) -> None:
    async with AsyncClient(server.address) as client:
        reply = await client.detect([images.pixels(1, 4)], alpha=0.03)
        assert (reply.detections[0].label, reply.detections[0].alpha) == ("dog", 0.03)
        assert reply.detections[0].path == ()
        dearer = await client.detect([images.pixels(1, 4)], level=Level.THOROUGH)
        assert (dearer.detections[0].level, dearer.detections[0].score) == (Level.THOROUGH, 5.0)
        assert (await client.bundle()).digest == reply.bundle_digest


async def test_a_request_at_fault_lists_its_fields(server: DetectionServer, images: Any) -> None:
    async with AsyncClient(server.address) as client:
        with pytest.raises(InvalidRequestError) as caught:
            await client.detect([images.png(), b"broken"])
        assert [v.field for v in caught.value.violations] == ["images[1].encoded"]
        assert caught.value.request_id
        with pytest.raises(InvalidRequestError, match="alpha"):
            await client.detect([images.png()], alpha=2.0)
        with pytest.raises(InvalidRequestError) as caught:
            await client.detect([images.png()], level=Level.FAST)
        assert [v.field for v in caught.value.violations] == ["level"]


async def test_a_server_failure_gives_the_request_id(server: DetectionServer, images: Any) -> None:
    async with AsyncClient(server.address) as client:
        with pytest.raises(ServerFailureError) as caught:
            await client.detect([images.png(images.failing_pixel)])
        assert caught.value.request_id in str(caught.value)


async def test_a_late_answer_is_a_timeout(
    server: DetectionServer, pipeline: Any, images: Any
) -> None:
    pipeline.open.clear()
    async with AsyncClient(server.address, timeout_s=0.1) as client:
        with pytest.raises(RequestTimeoutError, match="timeout_s"):
            await client.detect([images.png()])


@pytest.mark.parametrize("method", ["detect", "bundle"])
async def test_no_time_at_all_is_a_wait_of_its_own_and_not_the_default(
    images: Any, method: str
) -> None:
    arguments = ([images.png()],) if method == "detect" else ()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # nobody there ever says a word
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with Client(address) as client:
            blocking = functools.partial(getattr(client, method), *arguments, timeout_s=0)
            with pytest.raises(RequestTimeoutError):
                await asyncio.to_thread(blocking)
        async with AsyncClient(address) as other:
            with pytest.raises(RequestTimeoutError):
                await getattr(other, method)(*arguments, timeout_s=0)


async def test_a_call_of_bulk_priority_is_answered_and_finds_its_share_of_the_queue_only(
    start: Callable[..., Any], pipeline: Any, images: Any
) -> None:
    server = await start(max_queue_images=4, max_images_per_request=2)
    pipeline.open.clear()
    async with AsyncClient(server.address) as client:
        bulk = asyncio.ensure_future(
            client.detect([images.png(1), images.png(1)], priority=Priority.BULK)
        )
        for _ in range(1000):
            if "offpath_queue_images 2.0" in await asyncio.to_thread(metrics_of, server):
                break
        with pytest.raises(ServerBusyError, match="of bulk"):
            await client.detect([images.png()], priority=Priority.BULK)
        interactive = asyncio.ensure_future(client.detect([images.png(2)]))
        pipeline.open.set()
        assert (await bulk).detections[1].label == "dog"
        assert (await interactive).detections[0].label == "ship"


async def test_a_bulk_call_larger_than_its_whole_share_of_the_queue_is_told_so_and_not_to_retry(
    start: Callable[..., Any], images: Any
) -> None:
    server = await start(max_queue_images=4, max_images_per_request=3)
    async with AsyncClient(server.address) as client:
        with pytest.raises(InvalidRequestError, match="at most 2 images") as caught:
            await client.detect([images.png()] * 3, priority=Priority.BULK)
        assert [each.field for each in caught.value.violations] == ["images"]
        assert len((await client.detect([images.png()] * 3)).detections) == 3


async def test_an_asynchronous_client_reads_files_beside_the_event_loop(
    server: DetectionServer, images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(images.png(1, 2))
    threads: list[str] = []
    read = Path.read_bytes

    def noted(path: Path) -> bytes:
        threads.append(threading.current_thread().name)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    async with AsyncClient(server.address) as client:
        assert (await client.detect([file])).detections[0].label == "dog"
    assert len(threads) == 1
    assert threads != [threading.main_thread().name]


async def test_a_full_queue_says_when_to_retry(
    start: Callable[..., Any], pipeline: Any, images: Any
) -> None:
    server = await start(max_queue_images=1, max_images_per_request=1)
    pipeline.open.clear()
    async with AsyncClient(server.address) as client:
        calls = [asyncio.ensure_future(client.detect([images.png()])) for _ in range(2)]
        done, _ = await asyncio.wait(calls, return_when="FIRST_COMPLETED")
        with pytest.raises(ServerBusyError) as caught:
            await done.pop()
        assert caught.value.retry_after_s > 0
        pipeline.open.set()
        await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("limited", ["server", "client"])
async def test_a_message_over_a_limit_is_told_from_a_busy_server(
    start: Callable[..., Any], images: Any, limited: str
) -> None:
    server = await start(**({"max_message_bytes": 1000} if limited == "server" else {}))
    limits = {"max_message_bytes": 1000} if limited == "client" else {}
    async with AsyncClient(server.address, **limits) as client:
        with pytest.raises(MessageTooLargeError, match="max_message_bytes"):
            await client.detect([images.pixels()] * 20)


def test_no_server_at_the_address_is_one_clear_error(images: Any) -> None:
    with Client("127.0.0.1:1") as client:
        with pytest.raises(ServerUnavailableError, match="offpath serve"):
            client.detect([images.png()])
        with pytest.raises(OffpathError):
            client.bundle()


@pytest.mark.parametrize(
    "image",
    [
        Path("no/such/file.png"),
        np.zeros((8, 8, 3), dtype=np.float32),
        np.zeros((8, 8), dtype=np.uint8),
        np.zeros((8, 8, 4), dtype=np.uint8),
    ],
    ids=["missing file", "floats", "no channels", "alpha"],
)
def test_what_is_no_image_fails_before_it_is_sent(image: Any) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(ImageError, match="should be"):
        client.detect([image])


async def test_a_name_that_stands_for_many_servers_spreads_the_calls_over_them(
    start: Callable[..., Any], images: Any
) -> None:
    servers = [await start() for _ in range(2)]

    def work() -> bool:
        # As a DNS name with two addresses would be, such as that of a headless service.
        with Client(f"ipv4:{servers[0].address},{servers[1].address}") as client:
            for _ in range(500):  # all go to one server until the second connection is up
                client.detect([images.png(0, 1)])
                if all(has_answered(server) for server in servers):
                    return True
        return False

    assert await asyncio.to_thread(work)


def has_answered(server: DetectionServer) -> bool:
    return 'offpath_requests_total{code="OK",method="Detect"}' in metrics_of(server)
