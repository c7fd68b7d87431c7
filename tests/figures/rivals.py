"""Offpath's server beside the Python servers that people would pick instead."""

from __future__ import annotations

import contextlib
import importlib.util
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from tests.figures.bench import Bench
from tests.figures.figure import Figure, reported
from tests.figures.other_servers import OtherServer
from tests.figures.serving import Worker, core, serving
from tests.figures.subjects import Subject, resnet20

__all__ = ["rival_figures", "rivals"]

_CALLERS = 32
_ROUNDS = 5
_SLICE_S = 3.0
_WARM_UP_S = 8.0
_BATCH = "32"
_BY_HAND = "tests.figures.grpc_by_hand"
_LITSERVE = "tests.figures.litserve_server"
_STANDARD, _FAST = "PNG@standard", "PNG@fast"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Other:
    """A server that people would pick.

    Args:
        name: What it is, and what it answers.
        program: Module, and its arguments behind the bundle.
        callers: Module of those who can call it.
        same_work: Whether it gives the verdicts that Offpath gives; else predictions alone.
    """

    name: str
    program: tuple[str, ...]
    callers: str = "tests.figures.callers"
    same_work: bool = False


_BY_HAND_SERVERS = (
    _Other(name="grpc.aio, one image a pass, no verdict", program=(_BY_HAND, "predictions", "1")),
    _Other(name="grpc.aio with batches, no verdict", program=(_BY_HAND, "predictions", _BATCH)),
    _Other(
        name="grpc.aio with batches, the same verdict",
        program=(_BY_HAND, "verdicts", _BATCH),
        same_work=True,
    ),
)
_LITSERVE_SERVERS = (
    _Other(
        name="LitServe with batches, no verdict",
        program=(_LITSERVE, "predictions"),
        callers="tests.figures.http_callers",
    ),
    _Other(
        name="LitServe with batches, the same verdict",
        program=(_LITSERVE, "verdicts"),
        callers="tests.figures.http_callers",
        same_work=True,
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Contender:
    """Who takes a turn: what callers are told, and what has to be awake meanwhile."""

    callers: Worker
    kind: str = "PNG"
    awake: Callable[[], AbstractContextManager[None]] = field(default=contextlib.nullcontext)

    def images_per_s(self, seconds: float) -> float:
        with self.awake():
            found: float = self.callers.order(kind=self.kind, callers=_CALLERS, seconds=seconds)[
                "images_per_s"
            ]
        return found


def rivals(bench: Bench) -> list[Figure]:
    """Images per second of each, in turns on one core, their callers on another one.

    The same weights, images, callers and one thread for all. The order of the turns is reversed
    from round to round, and a ratio is of turns of one round; the median of the rounds counts.
    Servers that give the same verdicts are to be beaten. Those that give predictions alone do less,
    one pass of the network without gates: what they are ahead by is the price of a verdict.
    """
    installed = importlib.util.find_spec("litserve") is not None
    others = _BY_HAND_SERVERS + (_LITSERVE_SERVERS if installed else ())
    with resnet20(bench) as subject, _contenders(subject, others) as contenders:
        rounds = _measured(contenders)
    found = rival_figures(rounds, {each.name: each.same_work for each in others})
    if not installed:
        found += [
            reported(_title(each.name), "not measured: LitServe is not installed here")
            for each in _LITSERVE_SERVERS
        ]
    return found


@contextlib.contextmanager
def _contenders(subject: Subject, others: tuple[_Other, ...]) -> Iterator[dict[str, _Contender]]:
    bundle, pixels = str(subject.bundle), str(subject.pixels)
    with ExitStack() as stack:
        server = stack.enter_context(serving("--bundle", bundle, on=core(0)))
        callers = stack.enter_context(
            Worker("tests.figures.callers", server.address, pixels, _STANDARD, _FAST, on=core(-1))
        )
        found = {kind: _Contender(callers=callers, kind=kind) for kind in (_STANDARD, _FAST)}
        for other in others:
            module, *arguments = other.program
            running = stack.enter_context(
                OtherServer(("-m", module, bundle, *arguments), on=core(0))
            )
            callers = stack.enter_context(
                Worker(other.callers, running.address, pixels, "PNG", on=core(-1))
            )
            found[other.name] = _Contender(callers=callers, awake=running.awake)
            found[other.name].images_per_s(_WARM_UP_S)  # and then it is asleep
        yield found


def _measured(contenders: Mapping[str, _Contender]) -> list[dict[str, float]]:
    """Images per second of each by its name, round by round."""
    rounds = []
    for number in range(_ROUNDS):
        order = list(contenders) if number % 2 == 0 else list(contenders)[::-1]
        rounds.append({name: contenders[name].images_per_s(_SLICE_S) for name in order})
    return rounds


def rival_figures(rounds: list[dict[str, float]], others: Mapping[str, bool]) -> list[Figure]:
    """How many times as fast as each other server Offpath was.

    Args:
        rounds: Images per second by name, of Offpath's by the kind of request.
        others: Whether each of the other servers gives the same verdicts.
    """
    return [_against(rounds, name, same_work=same_work) for name, same_work in others.items()]


def _against(rounds: list[dict[str, float]], name: str, *, same_work: bool) -> Figure:
    standard = [each[_STANDARD] / each[name] for each in rounds]
    fast = [each[_FAST] / each[name] for each in rounds]
    texts = [f"{_times(standard)} at standard ({_rate(rounds, _STANDARD)}"]
    if not same_work:
        texts.append(f"{_times(fast)} at fast ({_rate(rounds, _FAST)}")
    return Figure(
        name=_title(name),
        target="> 1 times as fast" if same_work else "",
        measured=f"{'; '.join(f'{each} images/s)' for each in texts)}; it {_rate(rounds, name)}",
        holds=statistics.median(standard) > 1 if same_work else None,
    )


def _title(name: str) -> str:
    return f"{_CALLERS} callers: Offpath against {name}"


def _times(ratios: list[float]) -> str:
    middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
    return f"{middle:.2f} times, rounds {low:.2f} to {high:.2f},"


def _rate(rounds: list[dict[str, float]], name: str) -> str:
    return f"{statistics.median(each[name] for each in rounds):.0f}"
