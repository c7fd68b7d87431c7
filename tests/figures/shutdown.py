"""Whether a server that is told to stop answers what it accepted."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from pathlib import Path

import grpc
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc

from service.local_server import LocalServer
from tests.figures.bench import Bench
from tests.figures.figure import Figure
from tests.figures.serving import png, serving

__all__ = ["shutdown"]

_CALLERS = 32
_DRAIN_DELAYS_S = (0.0, 0.5, 1.0)
_LOAD_S = 2.0
_TIMEOUT_S = 60.0
_IMAGES = 64

# The command itself; beside it, how many calls its handlers met and how they ended.
_PROGRAM = """
import json, sys
from pathlib import Path
from prometheus_client import CollectorRegistry
from service import cli, server
registry = CollectorRegistry()
server.CollectorRegistry = lambda: registry
code = cli.run(sys.argv[2:])
ends = {
    sample.labels["code"]: int(sample.value)
    for metric in registry.collect()
    for sample in metric.samples
    if sample.name == "offpath_requests_total" and sample.labels["method"] == "Detect"
}
Path(sys.argv[1]).write_text(json.dumps(ends))
sys.exit(code)
"""


def shutdown(bench: Bench) -> list[Figure]:
    """SIGTERM while 32 callers in closed loops send single PNG images; three servers in turn.

    A call is *met* once a handler of the server has begun with it: the server counts these
    itself, and names each in the trailer of its reply. A met call is *refused* if the answer that
    reaches its caller is UNAVAILABLE under that name; a server that gives up on a call after it
    was admitted answers the same, and then does not exit with 0. All other met calls were
    accepted, and each of them that its caller sees end other than OK is *lost*. A caller looks
    away, as clients do, at the first refusal or when no server listens any more. A call that is
    *cut off*, neither met nor ended with UNAVAILABLE, leaves its caller in doubt: none may be.
    """
    images = bench.pixels(bench.splits.test, _IMAGES).permute(0, 2, 3, 1).numpy()
    requests = [pb.DetectRequest(images=[pb.Image(encoded=png(image))]) for image in images]
    lost, cut_off, codes, seen = 0, 0, [], Counter()
    for delay_s in _DRAIN_DELAYS_S:
        with tempfile.TemporaryDirectory(prefix="offpath-figures-") as folder:
            counts = Path(folder) / "ends.json"
            program = ["-c", _PROGRAM, str(counts)]
            with serving(drain_delay_s=delay_s, program=program) as server:
                ends, code = asyncio.run(_run(server, requests))
            met = sum(json.loads(counts.read_text()).values())
        lost += met - ends["ok"] - ends["refused"]
        cut_off += ends["cut off"]
        codes.append(code)
        seen += ends
    return [
        Figure(
            name=f"accepted calls lost, SIGTERM under {_CALLERS} callers",
            target="0, exit code 0",
            measured=(
                f"{lost} lost, {cut_off} cut off, exit codes {', '.join(map(str, codes))}; "
                f"{seen['ok']} answered, {seen['refused']} refused, "
                f"{seen['no server']} found no server"
            ),
            holds=lost == 0 and cut_off == 0 and not any(codes),
        )
    ]


async def _run(server: LocalServer, requests: list[pb.DetectRequest]) -> tuple[Counter[str], int]:
    """How the callers' calls ended, and the server's exit code."""
    ends: Counter[str] = Counter()

    async def caller(detect: grpc.aio.UnaryUnaryMultiCallable, number: int) -> None:
        while True:
            end = await _end(detect(requests[number % len(requests)], timeout=_TIMEOUT_S))
            ends[end] += 1
            if end != "ok":
                return

    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        callers = [asyncio.create_task(caller(stub.Detect, i)) for i in range(_CALLERS)]
        await asyncio.sleep(_LOAD_S)
        code = await asyncio.to_thread(server.stop)
        await asyncio.gather(*callers)
    return ends, code


async def _end(call: grpc.aio.UnaryUnaryCall) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        met = any(key == "x-request-id" for key, _ in error.trailing_metadata() or ())
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            return "failed" if met else "cut off"
        return "refused" if met else "no server"
    return "ok"
