"""What broken and hostile requests do to a server."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil
from offpath.inference.v2 import open_inference_pb2 as oip
from offpath.v1 import detection_pb2 as pb

from service.local_server import LocalServer
from service.settings import Settings
from tests.figures.bench import Bench
from tests.figures.figure import Figure
from tests.figures.mutants import DETECT, SOUND, mutant
from tests.figures.serving import metric, serving

__all__ = ["mutations"]

_CALLS = 100_000
_FIRST = 10_000
_AT_ONCE = 64
_TIMEOUT_S = 60.0
_MEMORY_TARGET = 0.10
_MOST_LOG_BYTES = 400
# A request that is still sound after its accident is answered; all others are the caller's fault.
_LIMIT_BYTES = Settings().max_message_bytes
_ALLOWED = {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}


@dataclass(kw_only=True)
class _Seen:
    """How calls ended, and the numbers of those that ended as none should."""

    codes: Counter[str] = field(default_factory=Counter)
    wrong: list[int] = field(default_factory=list)


def mutations(bench: Bench) -> list[Figure]:  # every measurement gets one
    """100 000 mutated requests, 64 at a time, to Detect and ModelInfer of a server as it comes.

    Half of them are broken on the wire, half hold broken files; `mutant` makes each again from its
    number. Before and after, sound requests have to get the same answers.
    """
    with serving() as server:
        before = asyncio.run(_answers(server))
        seen, memory, started = _Seen(), [], time.monotonic()
        for numbers in (range(_FIRST), range(_FIRST, _CALLS)):
            asyncio.run(_send(server, iter(numbers), seen))
            memory.append(psutil.Process(server.process.pid).memory_info().rss)
        seconds = time.monotonic() - started
        log = _log(server)
        same = asyncio.run(_answers(server)) == before
        held = metric(server, "offpath_queue_images")
        code = server.stop()
    return [
        _ends(seen, seconds),
        Figure(
            name="sound requests after them",
            target="the same answers, exit code 0",
            measured=f"{'the same' if same else 'other'} answers, {held:.0f} images left in the "
            f"server, exit code {code}",
            holds=same and held == 0 and code == 0,
        ),
        _memory(*memory),
        _logged(log),
    ]


async def _send(server: LocalServer, numbers: Iterator[int], seen: _Seen) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:

        async def caller() -> None:
            for number in numbers:
                request = mutant(number)
                call = channel.unary_unary(request.method, None, None)  # bytes as they are
                code = await _code(call(request.data, timeout=_TIMEOUT_S))
                seen.codes[code] += 1
                # What no server would take in, gRPC refuses before anyone reads it.
                too_long = len(request.data) > _LIMIT_BYTES and code == "RESOURCE_EXHAUSTED"
                if code not in _ALLOWED and not too_long:
                    seen.wrong.append(number)

        await asyncio.gather(*(caller() for _ in range(_AT_ONCE)))


async def _code(call: grpc.aio.UnaryUnaryCall) -> str:
    return str((await call.code()).name)


async def _answers(server: LocalServer) -> list[bytes]:
    """What is said to the sound requests, but for the names of the calls."""
    answers = []
    async with grpc.aio.insecure_channel(server.address) as channel:
        for request in SOUND:
            call = channel.unary_unary(request.method, None, None)
            data = await call(request.data, timeout=_TIMEOUT_S)
            if request.method == DETECT:
                reply = pb.DetectResponse.FromString(data)
                reply.ClearField("request_id")
            else:
                reply = oip.ModelInferResponse.FromString(data)
                del reply.parameters["request_id"]
            answers.append(reply.SerializeToString(deterministic=True))
    return answers


def _log(server: LocalServer) -> list[bytes]:
    """The lines that the server has written so far, wherever its standard error goes."""
    return Path(f"/proc/{server.process.pid}/fd/2").read_bytes().splitlines()


def _ends(seen: _Seen, seconds: float) -> Figure:
    codes = ", ".join(f"{count} {code}" for code, count in seen.codes.most_common())
    numbers = f"; the first are {sorted(seen.wrong)[:5]}" if seen.wrong else ""
    return Figure(
        name="mutated requests: crashes, INTERNAL, hangs",
        target=f"0 of {_CALLS}",
        measured=f"{len(seen.wrong)} ({codes}; {_CALLS / seconds:.0f} calls/s{numbers})",
        holds=not seen.wrong and seen.codes.total() == _CALLS,
    )


def _memory(first: int, last: int) -> Figure:
    grown = last / first - 1
    return Figure(
        name=f"resident memory after {_CALLS} mutated requests",
        target=f"within {_MEMORY_TARGET:.0%} of that after {_FIRST}",
        measured=f"{grown:+.1%} ({first / 2**20:.0f} MiB, then {last / 2**20:.0f} MiB)",
        holds=grown <= _MEMORY_TARGET,
    )


def _logged(log: list[bytes]) -> Figure:
    calls = [line for line in log if b" method=" in line]
    longest = max(map(len, calls))
    return Figure(
        name="log of a mutated request",
        target=f"one line of at most {_MOST_LOG_BYTES} bytes",
        measured=f"{len(log) / _CALLS:.4f} lines, the longest of {longest} bytes",
        # Beside the calls' lines: the server's own, such as that traffic drifted, and those of the
        # sound requests.
        holds=len(log) <= _CALLS + 100 and longest <= _MOST_LOG_BYTES,
    )
