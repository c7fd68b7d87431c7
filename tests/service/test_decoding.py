"""Images are decoded off the event loop, a handful at a time, each with its own fate."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from PIL import Image

from detector.images import ImageLimits
from detector.preprocessing import CIFAR10_PREPROCESSING
from service.codec import EncodedImage, RawImage
from service.decoding import Decoder
from service.errors import Violation


@contextmanager
def decoder(threads: int = 1) -> Iterator[Decoder]:
    made = Decoder(CIFAR10_PREPROCESSING, limits=ImageLimits(), threads=threads)
    try:
        yield made
    finally:
        made.close()


def raw(value: int, side: int = 48) -> RawImage:
    data = bytes([value]) * (side * side * 3)
    return RawImage(field=f"images[{value}]", data=data, height=side, width=side, channels=3)


class Held(EncodedImage):
    """An image whose decoding takes until it is released, and tells its thread."""

    def __init__(self) -> None:
        super().__init__(field="images[0]", data=b"")
        object.__setattr__(self, "begun", threading.Event())
        object.__setattr__(self, "released", threading.Event())

    def pixels(self, limits: ImageLimits) -> torch.Tensor:  # the base class's signature
        self.begun.set()  # type: ignore[attr-defined]
        assert self.released.wait(30)  # type: ignore[attr-defined]
        return torch.zeros(3, 32, 32, dtype=torch.uint8)


async def test_many_images_at_once_come_back_each_to_its_own_caller() -> None:
    with decoder(threads=2) as made:
        found = await asyncio.gather(*(made.pixels(raw(value)) for value in range(50)))
    assert all(isinstance(each, torch.Tensor) and each.shape == (3, 32, 32) for each in found)
    assert [int(each[0, 0, 0]) for each in found] == list(range(50))


async def test_a_broken_image_is_a_violation_of_its_field_and_its_neighbours_are_fine() -> None:
    broken = EncodedImage(field="images[1].encoded", data=b"GIF89a")
    with decoder() as made:
        before, found, after = await asyncio.gather(
            *(made.pixels(image) for image in (raw(1), broken, raw(2)))
        )
    assert isinstance(found, Violation)
    assert found.field == "images[1].encoded"
    assert isinstance(before, torch.Tensor)
    assert isinstance(after, torch.Tensor)


async def test_an_error_nobody_foresaw_reaches_its_own_caller_alone(monkeypatch) -> None:
    def fail(self: EncodedImage, limits: ImageLimits) -> torch.Tensor:
        raise MemoryError(self.field)

    monkeypatch.setattr(EncodedImage, "pixels", fail)
    with decoder() as made:
        results = await asyncio.gather(
            made.pixels(raw(1)),
            made.pixels(EncodedImage(field="images[7]", data=b"")),
            made.pixels(raw(2)),
            return_exceptions=True,
        )
    assert [type(each) for each in results] == [torch.Tensor, MemoryError, torch.Tensor]


async def test_the_event_loop_goes_on_while_an_image_is_decoded() -> None:
    held = Held()
    with decoder() as made:
        task = asyncio.create_task(made.pixels(held))
        await asyncio.to_thread(held.begun.wait, 30)
        ready = await made.pixels(raw(3, side=32))  # at its size already: it waits for no thread
        assert not task.done()
        held.released.set()
        assert (await task).shape == ready.shape


def png(side: int = 32) -> EncodedImage:
    file = io.BytesIO()
    Image.new("RGB", (side, side), (7, 7, 7)).save(file, "PNG")
    return EncodedImage(field="images[0].encoded", data=file.getvalue())


async def test_a_call_with_one_small_file_waits_for_no_thread() -> None:
    held = Held()
    with decoder() as made:
        busy = asyncio.create_task(made.pixels(held))
        await asyncio.to_thread(held.begun.wait, 30)
        (found,) = await made.all_pixels([png()])
        assert not busy.done()
        held.released.set()
        await busy
    assert isinstance(found, torch.Tensor)
    assert found.shape == (3, 32, 32)
    assert int(found[0, 0, 0]) == 7


@pytest.mark.parametrize("images", [[png(), png()], [png(side=48)]])
async def test_files_that_are_more_work_wait_for_a_thread(images: list[EncodedImage]) -> None:
    held = Held()
    with decoder() as made:
        busy = asyncio.create_task(made.pixels(held))
        await asyncio.to_thread(held.begun.wait, 30)
        task = asyncio.create_task(made.all_pixels(images))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not task.done()
        held.released.set()
        await busy
        found = await task
    assert [each.shape for each in found if isinstance(each, torch.Tensor)] == [
        (3, 32, 32) for _ in images
    ]


async def test_a_caller_that_goes_away_leaves_the_next_one_its_image() -> None:
    held = Held()
    with decoder() as made:
        gone = asyncio.create_task(made.pixels(held))
        stays = asyncio.create_task(made.pixels(raw(4)))
        await asyncio.to_thread(held.begun.wait, 30)
        gone.cancel()
        held.released.set()
        assert int((await stays)[0, 0, 0]) == 4


async def test_nothing_stays_of_a_caller_that_went_away_while_it_waited(monkeypatch) -> None:
    decoded: list[str] = []
    pixels = RawImage.pixels

    def noting(self: RawImage, limits: ImageLimits) -> torch.Tensor:
        decoded.append(self.field)
        return pixels(self, limits)

    monkeypatch.setattr(RawImage, "pixels", noting)
    held = Held()
    with decoder() as made:
        first = asyncio.create_task(made.pixels(held))
        await asyncio.to_thread(held.begun.wait, 30)
        gone = [asyncio.create_task(made.pixels(raw(value))) for value in range(20)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        stays = asyncio.create_task(made.pixels(raw(99)))
        held.released.set()
        await first
        await stays
    assert decoded == ["images[99]"]


async def test_closing_cancels_the_calls_that_still_wait() -> None:
    held = Held()
    with decoder() as made:
        asyncio.create_task(made.pixels(held))  # noqa: RUF006  # it ends with the test
        await asyncio.to_thread(held.begun.wait, 30)
        waiting = asyncio.create_task(made.pixels(raw(5)))
        await asyncio.sleep(0)
    held.released.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_small_image_does_not_wait_for_large_neighbours() -> None:
    held, large = Held(), Held()
    object.__setattr__(large, "data", bytes(100_000))
    with decoder() as made:
        first = asyncio.create_task(made.pixels(held))
        await asyncio.to_thread(held.begun.wait, 30)
        small = asyncio.create_task(made.pixels(raw(6, side=33)))
        slow = asyncio.create_task(made.pixels(large))
        await asyncio.sleep(0)
        held.released.set()
        assert int((await small)[0, 0, 0]) == 6
        assert not slow.done()
        large.released.set()
        await asyncio.gather(first, slow)
