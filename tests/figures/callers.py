"""A load generator: callers in a closed loop, as a `Worker`. Never imports torch."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from pathlib import Path

import grpc
import numpy as np
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc

from tests.figures.serving import png

_TIMEOUT_S = 60.0
_WARM_UP_S = 0.5


def main() -> None:
    """Call a server with the images of an .npy file, (N, H, W, 3), for as long as each order says.

    Orders: ``kind`` of request, ``png`` or ``raw``; ``callers``; ``seconds``. The answer is the
    number of images per second. A call that fails ends the process.
    """
    address, pixels = sys.argv[1], np.load(Path(sys.argv[2]))
    requests = {
        "png": [pb.DetectRequest(images=[pb.Image(encoded=png(each))]) for each in pixels],
        "raw": [pb.DetectRequest(images=[_raw(each)]) for each in pixels],
    }
    for line in sys.stdin:
        order = json.loads(line)
        load = _load(address, requests[order["kind"]], order["callers"], order["seconds"])
        sys.stdout.write(json.dumps(asyncio.run(load)) + "\n")
        sys.stdout.flush()


def _raw(pixels: np.ndarray) -> pb.Image:
    height, width, channels = pixels.shape
    return pb.Image(
        raw=pb.RawTensor(data=pixels.tobytes(), height=height, width=width, channels=channels)
    )


async def _load(
    address: str, requests: list[pb.DetectRequest], callers: int, seconds: float
) -> float:
    started = time.perf_counter() + _WARM_UP_S
    stop = started + seconds
    upcoming = itertools.cycle(requests)
    answered = 0

    async def caller(detect: grpc.aio.UnaryUnaryMultiCallable) -> None:
        nonlocal answered
        while time.perf_counter() < stop:
            await detect(next(upcoming), timeout=_TIMEOUT_S)
            answered += started <= time.perf_counter() < stop

    async with grpc.aio.insecure_channel(address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(caller(stub.Detect))
    return answered / seconds


if __name__ == "__main__":
    main()
