"""The server that people write by hand: grpc.aio and, around the model, a queue that batches."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

import grpc
import uvloop
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc

from tests.figures.served_models import Answer, ServedModel, served_model

__all__ = ["BatchingQueue", "HandWritten"]

X = TypeVar("X")
Y = TypeVar("Y")

_WINDOW_S = 0.005


class BatchingQueue(Generic[X, Y]):
    """Collects what callers bring for a moment, and answers all of it at once on a thread.

    Args:
        answers: One answer for each of a list, in its order.
        max_batch: Most of them in one list.
        window_s: How long the first of a batch waits for others, seconds.
    """

    def __init__(
        self, answers: Callable[[Sequence[X]], list[Y]], *, max_batch: int, window_s: float
    ) -> None:
        self._answers = answers
        self._max_batch = max_batch
        self._window_s = window_s
        self._waiting: asyncio.Queue[tuple[X, asyncio.Future[Y]]] = asyncio.Queue()

    async def answer(self, item: X) -> Y:
        """The answer to one of them."""
        future: asyncio.Future[Y] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((item, future))
        return await future

    async def run(self) -> None:
        """Answer batch after batch until it is cancelled."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as thread:  # the loop takes calls meanwhile
            while True:
                items, futures = zip(*await self._batch(), strict=True)
                try:
                    answers = await loop.run_in_executor(thread, self._answers, items)
                except Exception as error:  # noqa: BLE001  # it belongs to these callers
                    for future in futures:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for future, answer in zip(futures, answers, strict=True):
                    if not future.done():  # else its caller went away
                        future.set_result(answer)

    async def _batch(self) -> list[tuple[X, asyncio.Future[Y]]]:
        batch = [await self._waiting.get()]
        try:
            async with asyncio.timeout(self._window_s):
                while len(batch) < self._max_batch:
                    batch.append(await self._waiting.get())
        except TimeoutError:
            pass
        return batch


class HandWritten(detection_pb2_grpc.DetectionServiceServicer):
    """Answers the same requests as Offpath's server, so that the same callers can call it.

    Args:
        model: What answers.
        queue: Where images wait for others; None to run the network at once, on the event loop,
            which on a single core nothing could run beside.
    """

    def __init__(self, model: ServedModel, queue: BatchingQueue[object, Answer] | None) -> None:
        self._model = model
        self._queue = queue

    async def Detect(  # noqa: N802  # the contract's name
        self, request: pb.DetectRequest, context: grpc.aio.ServicerContext
    ) -> pb.DetectResponse:
        try:
            images = [self._model.decode(image.encoded) for image in request.images]
        except OSError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if self._queue is None:
            answers = [self._model.answers([image])[0] for image in images]
        else:
            answers = await asyncio.gather(*(self._queue.answer(image) for image in images))
        return pb.DetectResponse(detections=[pb.Detection(**answer) for answer in answers])


async def _serve(bundle: Path, answers: str, max_batch: int) -> None:
    model = served_model(bundle, answers)
    queue: BatchingQueue[object, Answer] | None = None
    if max_batch > 1:
        queue = BatchingQueue(model.answers, max_batch=max_batch, window_s=_WINDOW_S)
    server = grpc.aio.server()
    detection_pb2_grpc.add_DetectionServiceServicer_to_server(HandWritten(model, queue), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"127.0.0.1:{port}\n")
    sys.stdout.flush()
    async with asyncio.TaskGroup() as tasks:
        if queue is not None:
            tasks.create_task(queue.run())
        tasks.create_task(server.wait_for_termination())


def main() -> None:
    """Serve a bundle; say the address first.

    Arguments: the bundle's folder, ``predictions`` or ``verdicts``, and the most images in a batch.
    """
    bundle, answers, max_batch = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(Path(bundle), answers, int(max_batch)))


if __name__ == "__main__":
    main()
