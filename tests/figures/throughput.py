"""What the server keeps of the pipeline's own throughput when callers send single images."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import numpy as np

from tests.figures.bench import Bench
from tests.figures.figure import Figure
from tests.figures.serving import Worker, core, serving

__all__ = ["throughput"]

_CALLERS = 32
_TARGET = 0.60
_IMAGES = 512
_BATCHES = (8, 16, 24, 32, 48, 64, 128)
_ROUNDS = 5
_SWEEP_S = 1.0
_SLICE_S = 3.0


def throughput(bench: Bench) -> list[Figure]:
    """Images per second over gRPC as a share of those of `Pipeline.analyse` and `detect`.

    Server and ceiling share one core and take turns on it, one thread each; the callers have
    another core. The ceiling analyses batches of its best size that lie in memory already. Each
    round compares what was measured seconds apart; the median round counts, as machines are noisy.
    """
    with tempfile.TemporaryDirectory(prefix="offpath-figures-") as folder:
        pixels = Path(folder) / "pixels.npy"
        images = bench.pixels(bench.splits.test, _IMAGES)
        np.save(pixels, images.permute(0, 2, 3, 1).contiguous().numpy())
        with (
            serving(on=core(0)) as server,
            Worker("tests.figures.ceiling", str(pixels), on=core(0)) as ceiling,
            Worker("tests.figures.callers", server.address, str(pixels), on=core(-1)) as callers,
        ):
            best = max(_BATCHES, key=lambda size: ceiling.order(batch=size, seconds=_SWEEP_S))
            rounds = [_round(ceiling, callers, best) for _ in range(_ROUNDS)]
    return [_figure(rounds, "png", best), _figure(rounds, "raw", best)]


def _round(ceiling: Worker, callers: Worker, batch: int) -> dict[str, float]:
    def calls(kind: str) -> float:
        return callers.order(kind=kind, callers=_CALLERS, seconds=_SLICE_S)

    return {
        "ceiling": ceiling.order(batch=batch, seconds=_SLICE_S),
        "png": calls("png"),
        "raw": calls("raw"),
    }


def _figure(rounds: list[dict[str, float]], kind: str, batch: int) -> Figure:
    shares = [each[kind] / each["ceiling"] for each in rounds]
    served, ceiling = (
        statistics.median(each[name] for each in rounds) for name in (kind, "ceiling")
    )
    share = statistics.median(shares)
    images = {"png": "PNG images", "raw": "raw tensors"}[kind]
    return Figure(
        name=f"throughput of {_CALLERS} callers with single {images}",
        target=f">= {_TARGET:.0%} of in-process" if kind == "png" else "",
        measured=(
            f"{share:.1%}, rounds {min(shares):.1%} to {max(shares):.1%} "
            f"({served:.0f} against {ceiling:.0f} images/s in batches of {batch})"
        ),
        holds=share >= _TARGET if kind == "png" else None,
    )
