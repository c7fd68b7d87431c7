"""Turns what callers send into the network's input, off the event loop."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from torch import Tensor

from detector.errors import InvalidInputError
from detector.images import ImageLimits
from detector.preprocessing import Preprocessing
from service.codec import RawImage, SentImage
from service.devices import usable_cores
from service.errors import RequestError, Violation

__all__ = ["Decoder", "require_all"]

_HANDFUL = 8
"""Most images that one thread takes at once: few enough to leave the others something."""

_HANDFUL_BYTES = 65_536
"""Most bytes of a handful of more than one, so that no small image waits for large neighbours."""

_MOST_THREADS = 2
"""Unless asked for more: decoding should not take the cores from the network."""

_Decoded = Tensor | Violation | Exception
_Future = asyncio.Future[Tensor | Violation]


class Decoder:
    """Decodes and fits images on a few threads.

    A thread takes a handful of what waits and reports back once, as the hand-over between threads
    costs more than a small image does.

    Args:
        preprocessing: The size that images are brought to.
        limits: Which image sizes are taken.
        threads: Number of threads; 0 for one on each core that this process may use, at most two.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        *,
        limits: ImageLimits,
        threads: int,
    ) -> None:
        self._preprocessing = preprocessing
        self._limits = limits
        self._threads = threads or min(_MOST_THREADS, usable_cores())
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="offpath-decode")
        self._waiting: OrderedDict[_Future, SentImage] = OrderedDict()
        self._working = 0

    async def all_pixels(self, images: Sequence[SentImage]) -> list[Tensor | Violation]:
        """What `pixels` gives for each image."""
        if len(images) == 1:  # most calls; gather would cost more than a small image
            (image,) = images
            # Of many images in one call, each a little work, the sum would hold up the others.
            return [self._fitted(image) if self._is_cheap(image) else await self.pixels(image)]
        return await asyncio.gather(*(self.pixels(image) for image in images))

    async def pixels(self, image: SentImage) -> Tensor | Violation:
        """One image at the network's input size, uint8 of shape (3, h, w), or what is wrong."""
        if isinstance(image, RawImage) and self._is_cheap(image):
            return self._fitted(image)  # a copy of a few kilobytes: a thread would cost more
        future: _Future = asyncio.get_running_loop().create_future()
        self._waiting[future] = image
        # Not at once: calls that arrived together then go to a thread together.
        asyncio.get_running_loop().call_soon(self._start)
        try:
            return await future
        finally:
            # The room of a caller that went away is given to others: nothing of it may stay.
            self._waiting.pop(future, None)

    def _is_cheap(self, image: SentImage) -> bool:
        """Whether an image costs less than a thread would: decoded soon, and not resized."""
        size = (self._preprocessing.height, self._preprocessing.width)
        return image.size_if_cheap() == size

    def close(self) -> None:
        """End the threads; calls that still wait for an image are cancelled."""
        for future in self._waiting:
            future.cancel()
        self._waiting.clear()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        """Give each idle thread a handful of what waits."""
        while self._waiting and self._working < self._threads:
            jobs = self._take()
            work = self._executor.submit(self._decode, list(jobs.values()))
            self._working += 1
            asyncio.wrap_future(work).add_done_callback(partial(self._finish, list(jobs)))

    def _take(self) -> dict[_Future, SentImage]:
        jobs = dict([self._waiting.popitem(last=False)])
        size = sum(image.size_bytes for image in jobs.values())
        while self._waiting and len(jobs) < _HANDFUL:
            future, image = next(iter(self._waiting.items()))
            size += image.size_bytes
            if size > _HANDFUL_BYTES:
                break
            jobs[future] = self._waiting.pop(future)
        return jobs

    def _finish(self, futures: list[_Future], done: asyncio.Future[list[_Decoded]]) -> None:
        self._working -= 1
        if done.cancelled():
            for future in futures:
                future.cancel()
            return
        for future, result in zip(futures, done.result(), strict=True):
            if future.done():  # its caller went away
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        self._start()

    def _decode(self, images: list[SentImage]) -> list[_Decoded]:
        return [self._attempt(image) for image in images]

    def _attempt(self, image: SentImage) -> _Decoded:
        try:
            return self._fitted(image)
        except Exception as error:  # noqa: BLE001  # it belongs to this image, not to its neighbours
            return error

    def _fitted(self, image: SentImage) -> Tensor | Violation:
        try:
            return self._preprocessing.fit(image.pixels(self._limits))
        except InvalidInputError as error:
            return Violation(image.field, str(error))


def require_all(results: Sequence[Tensor | Violation]) -> list[Tensor]:
    """The images of a call, as `Decoder.all_pixels` gives them.

    Raises:
        RequestError: If one cannot be read, naming every field at fault at once.
    """
    violations = tuple(result for result in results if isinstance(result, Violation))
    if violations:
        raise RequestError(violations)
    return [result for result in results if not isinstance(result, Violation)]
