"""What the server keeps of the pipeline's own speed: many callers' throughput, one's latency."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.figures.bench import Bench
from tests.figures.figure import Figure
from tests.figures.serving import Worker, core, serving
from tests.figures.subjects import Subject, resnet18, resnet20, resnet56

__all__ = ["latency", "throughput"]

_CALLERS = 32
_ROUNDS = 3
_SWEEP_S = 1.0
_MOST_ADDED_MS = 1.5


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """A network, batches that its ceiling may be best at, and least shares by what is sent.

    A slice of so many seconds is some batches long.
    """

    subject: Callable[[Bench], AbstractContextManager[Subject]]
    batches: tuple[int, ...]
    targets: Mapping[str, float]
    slice_s: float = 3.0


_SMALL_BATCHES = (8, 16, 24, 32, 48, 64, 128)
_CASES = (
    _Case(subject=resnet20, batches=_SMALL_BATCHES, targets={"PNG": 0.75, "raw": 0.80}),
    _Case(subject=resnet56, batches=_SMALL_BATCHES, targets={"PNG": 0.88, "raw": 0.92}),
    _Case(subject=resnet18, batches=(4, 8, 16, 32), targets={"JPEG": 0.90}, slice_s=10.0),
)


def throughput(bench: Bench) -> list[Figure]:
    """Images per second over gRPC as a share of those of `Pipeline.analyse` and `detect`.

    Server and ceiling share one core and take turns on it, one thread each; the callers have
    another core. The ceiling analyses batches of its best size that lie in memory already. What
    came over gRPC is held against the mean of the ceilings measured right before and right after
    it; the median of the rounds counts, as machines are noisy.
    """
    return [figure for case in _CASES for figure in _shares(bench, case)]


def _shares(bench: Bench, case: _Case) -> list[Figure]:
    with case.subject(bench) as subject, _measured(subject, *case.targets) as (ceiling, callers):

        def best_rate(size: int) -> float:
            rate: float = ceiling.order(batch=size, seconds=_SWEEP_S)["images_per_s"]
            return rate

        batch = max(case.batches, key=best_rate)
        rounds = [_round(ceiling, callers, batch, case) for _ in range(_ROUNDS)]
    return [
        _share_figure(subject, kind, target, [each[kind] for each in rounds], batch)
        for kind, target in case.targets.items()
    ]


def _round(
    ceiling: Worker, callers: Worker, batch: int, case: _Case
) -> dict[str, tuple[float, float]]:
    """What each kind of request came to, and its ceiling, images per second."""

    def bare() -> float:
        rate: float = ceiling.order(batch=batch, seconds=case.slice_s)["images_per_s"]
        return rate

    found: dict[str, tuple[float, float]] = {}
    before = bare()
    for kind in case.targets:
        served = callers.order(kind=kind, callers=_CALLERS, seconds=case.slice_s)["images_per_s"]
        after = bare()
        found[kind] = (served, (before + after) / 2)
        before = after
    return found


def _share_figure(
    subject: Subject, kind: str, target: float, rounds: list[tuple[float, float]], batch: int
) -> Figure:
    shares = [served / ceiling for served, ceiling in rounds]
    served, ceiling = (statistics.median(each) for each in zip(*rounds, strict=True))
    share = statistics.median(shares)
    return Figure(
        name=f"{subject.name}: {_CALLERS} callers with single {kind} images",
        target=f">= {target:.0%} of in-process",
        measured=(
            f"{share:.1%}, rounds {min(shares):.1%} to {max(shares):.1%} "
            f"({served:.0f} against {ceiling:.0f} images/s in batches of {batch})"
        ),
        holds=share >= target,
    )


def latency(bench: Bench) -> list[Figure]:
    """What the server adds for a caller that is alone: median latency less the bare pipeline's.

    The same core for server and pipeline, in turns, and another one for the caller. The median of
    the rounds counts, each held against the mean of the pipeline right before and right after.
    """
    with resnet20(bench) as subject, _measured(subject, "PNG", "raw") as (ceiling, callers):
        rounds = [_alone(ceiling, callers) for _ in range(_ROUNDS)]
    return [_latency_figure(subject, kind, [each[kind] for each in rounds]) for kind in rounds[0]]


def _alone(ceiling: Worker, callers: Worker) -> dict[str, tuple[float, float]]:
    """Median times of each kind of request, and of the pipeline, milliseconds."""

    def bare() -> float:
        median: float = ceiling.order(batch=1, seconds=_SWEEP_S)["median_ms"]
        return median

    found: dict[str, tuple[float, float]] = {}
    before = bare()
    for kind in ("PNG", "raw"):
        served = callers.order(kind=kind, callers=1, seconds=_SWEEP_S)["median_ms"]
        after = bare()
        found[kind] = (served, (before + after) / 2)
        before = after
    return found


def _latency_figure(subject: Subject, kind: str, rounds: list[tuple[float, float]]) -> Figure:
    added = [served - bare for served, bare in rounds]
    served, bare = (statistics.median(each) for each in zip(*rounds, strict=True))
    most = statistics.median(added)
    return Figure(
        name=f"{subject.name}: p50 of one caller with {kind} images over the bare pipeline",
        target=f"<= {_MOST_ADDED_MS} ms",
        measured=(
            f"{most:.2f} ms, rounds {min(added):.2f} to {max(added):.2f} "
            f"({served:.2f} against {bare:.2f} ms)"
        ),
        holds=most <= _MOST_ADDED_MS,
    )


@contextmanager
def _measured(subject: Subject, *kinds: str) -> Iterator[tuple[Worker, Worker]]:
    """The pipeline by itself, and callers of its server."""
    bundle, pixels = str(subject.bundle), str(subject.pixels)
    with (
        serving("--bundle", bundle, on=core(0)) as server,
        Worker("tests.figures.ceiling", bundle, pixels, on=core(0)) as ceiling,
        Worker("tests.figures.callers", server.address, pixels, *kinds, on=core(-1)) as callers,
    ):
        yield ceiling, callers
