"""Many files become calls that fit, and what is wrong with one of them is said about that file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from detector.errors import ImageError
from service import remote
from service.client import Client
from service.remote import RemoteDetector
from service.results import FieldViolation, InvalidRequestError, MessageTooLargeError


class FakeClient:
    """Answers each file with its name; fails as it is told to."""

    def __init__(self, *, most: int = 100, error: Exception | None = None) -> None:
        self.calls: list[int] = []
        self._most = most
        self._error = error

    def detect(self, files: Sequence[Path], **_: Any) -> SimpleNamespace:
        self.calls.append(len(files))
        if self._error is not None:
            raise self._error
        if len(files) > self._most:
            raise MessageTooLargeError("too large")
        return SimpleNamespace(detections=tuple(file.name for file in files))

    def ask(self, files: Sequence[Path]) -> tuple[Any, ...]:
        return RemoteDetector(cast("Client", self)).detect(files)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number:02}.png" for number in range(70)]
    for path in paths:
        path.write_bytes(bytes(10))
    return paths


@pytest.mark.parametrize(
    ("most_bytes", "calls"), [(1000, [32, 32, 6]), (100, [10] * 7), (5, [1] * 70)]
)
def test_calls_are_bounded_in_images_and_in_bytes(
    files: list[Path], most_bytes: int, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_BYTES_PER_CALL", most_bytes)
    client = FakeClient()
    assert client.ask(files) == tuple(file.name for file in files)
    assert client.calls == calls


def test_a_call_that_is_too_large_for_the_server_is_made_in_halves(files: list[Path]) -> None:
    client = FakeClient(most=10)
    assert client.ask(files[:32]) == tuple(file.name for file in files[:32])
    assert max(call for call in client.calls if call <= 10) == 8


def test_an_image_that_is_too_large_by_itself_is_named(files: list[Path]) -> None:
    with pytest.raises(MessageTooLargeError, match=r"00\.png: too large"):
        FakeClient(most=0).ask(files)


def test_every_bad_image_of_a_call_is_named(files: list[Path]) -> None:
    violations = (
        FieldViolation("images[3].encoded", "This is broken."),
        FieldViolation("images[11].encoded", "That is empty."),
    )
    error = InvalidRequestError("broken", violations=violations)
    with pytest.raises(ImageError, match=r"03\.png: This is broken\. .*11\.png: That is empty\."):
        FakeClient(error=error).ask(files)


def test_a_fault_that_is_no_image_s_stays_as_it_is(files: list[Path]) -> None:
    error = InvalidRequestError("alpha", violations=(FieldViolation("alpha", "Too much."),))
    with pytest.raises(InvalidRequestError, match=r"^alpha$"):
        FakeClient(error=error).ask(files)


async def test_a_server_with_a_small_limit_still_answers_many_files(
    start: Callable[..., Any], images: Any, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(20)]
    for path in paths:
        path.write_bytes(images.png(1, 7))
    server = await start(max_message_bytes=1000)

    def ask() -> Any:
        with Client(server.address) as client:
            return RemoteDetector(client).detect(paths)

    assert [found.score for found in await asyncio.to_thread(ask)] == [7.0] * 20
