"""Speed on a GPU: the pipeline by itself and served, beside the plain network compiled."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from detector.bundle import load_bundle
from detector.decoupling.skipping import Comparison, choose_plan
from detector.pipeline import Pipeline
from tests.figures.bench import Bench
from tests.figures.figure import Figure, reported
from tests.figures.serving import Worker, core, serving
from tests.figures.subjects import Subject, resnet50, resnet56

__all__ = ["accelerator", "accelerator_at_224", "speed_figures"]

_BATCHES = (8, 32, 64, 128)
_CALLERS = 128
_SLICE_S = 2.0
_WARM_UPS = 3
_LOOKED_AT = 4
_LARGEST_SKIPPED = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class _Speed:
    """Images per second, and the median and the 99th percentile of what one wait takes, ms."""

    images_per_s: float
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float], size: int) -> _Speed:
        p50, p99 = (1000 * float(np.quantile(seconds, share)) for share in (0.5, 0.99))
        return cls(images_per_s=size / statistics.fmean(seconds), p50_ms=p50, p99_ms=p99)

    @property
    def text(self) -> str:
        return f"{self.images_per_s:.0f} images/s, p50 {self.p50_ms:.2f} ms, p99 {self.p99_ms:.2f}"


def accelerator(bench: Bench) -> list[Figure]:
    """ResNet-56 on the first GPU; where there is none, one line says so."""
    return _on_the_gpu(resnet56, bench)


def accelerator_at_224(bench: Bench) -> list[Figure]:
    """The same of ResNet-50."""
    return _on_the_gpu(resnet50, bench)


def _on_the_gpu(
    make: Callable[[Bench], AbstractContextManager[Subject]], bench: Bench
) -> list[Figure]:
    if not torch.cuda.is_available():
        return [reported("speed on an accelerator", "not measured: this machine has no GPU")]
    with make(bench) as subject:
        return speed_figures(subject, "cuda", batches=_BATCHES, seconds=_SLICE_S)


def speed_figures(
    subject: Subject, device: str, *, batches: Sequence[int], seconds: float
) -> list[Figure]:
    """What one network does on a device; the plain one is its backbone under ``torch.compile``.

    Args:
        subject: The network.
        device: Where, as torch names it.
        batches: Sizes of batch; the fastest of each way counts.
        seconds: How long each is measured.
    """
    pipeline = load_bundle(subject.bundle, device=device).pipeline
    images = torch.from_numpy(np.load(subject.pixels)).permute(0, 3, 1, 2).contiguous()
    rows = []
    for level in pipeline.levels:
        size, speed = _best(_verdicts(pipeline, level), images, batches, seconds)
        rows.append((f"pipeline at {level}, verdicts included, batches of {size}", speed))
    size, speed = _best(_plain(pipeline), images, batches, seconds)
    rows.append((f"plain network compiled, batches of {size}", speed))
    rows.append((f"served, {_CALLERS} callers with single raw images", _served(subject, device)))
    where = torch.cuda.get_device_name() if device == "cuda" else device
    found = [(name, speed.text) for name, speed in rows] + _skipping(pipeline, images)
    return [reported(f"{subject.name} on {where}: {name}", text) for name, text in found]


def _skipping(pipeline: Pipeline, images: Tensor) -> list[tuple[str, str]]:
    """What a server's warm-up measures of leaving out closed filters, and what it decides."""
    choice, _ = choose_plan(
        pipeline.network, pipeline.prepared(images[:_LOOKED_AT]), _LARGEST_SKIPPED
    )
    served = "skipped" if choice.pays else "masked"
    return [
        (f"skipped / masked, {_images(each)}, served {served}", _ratio_text(each))
        for each in (choice.alone, choice.together)
    ]


def _images(compared: Comparison) -> str:
    return "one image" if compared.images == 1 else f"batches of {compared.images}"


def _ratio_text(compared: Comparison) -> str:
    masked, skipped = (1000 * each for each in (compared.masked_s, compared.skipped_s))
    return f"{compared.ratio:.2f} ({skipped:.2f} / {masked:.2f} ms)"


def _best(
    work: Callable[[Tensor], object], images: Tensor, sizes: Sequence[int], seconds: float
) -> tuple[int, _Speed]:
    speeds = {size: _measured(work, images, size, seconds) for size in sizes if size <= len(images)}
    best = max(speeds, key=lambda size: speeds[size].images_per_s)
    return best, speeds[best]


def _measured(
    work: Callable[[Tensor], object], images: Tensor, size: int, seconds: float
) -> _Speed:
    batches = [batch for batch in images.split(size) if len(batch) == size]
    for _ in range(_WARM_UPS):
        work(batches[0])
    times: list[float] = []
    while sum(times) < seconds:
        started = time.perf_counter()
        work(batches[len(times) % len(batches)])
        times.append(time.perf_counter() - started)
    return _Speed.of(times, size)


def _verdicts(pipeline: Pipeline, level: str) -> Callable[[Tensor], object]:
    def work(images: Tensor) -> None:
        findings = pipeline.analyse(images, level)
        for row in range(len(images)):
            pipeline.detect(findings, row)

    return work


def _plain(pipeline: Pipeline) -> Callable[[Tensor], object]:
    """From pixels in main memory to class scores in main memory, as a verdict goes."""
    backbone: nn.Module = torch.compile(pipeline.network.backbone)  # type: ignore[assignment]

    def work(images: Tensor) -> Tensor:
        with torch.inference_mode():
            prepared = pipeline.preprocessing(images.to(pipeline.device, non_blocking=True))
            logits: Tensor = backbone(prepared.contiguous(memory_format=torch.channels_last))
            return logits.cpu()

    return work


def _served(subject: Subject, device: str) -> _Speed:
    with (
        serving("--bundle", str(subject.bundle), "--device", device) as server,
        Worker(
            "tests.figures.callers", server.address, str(subject.pixels), "raw", on=core(-1)
        ) as callers,
    ):
        found = callers.order(kind="raw", callers=_CALLERS, seconds=_SLICE_S)
    return _Speed(
        images_per_s=found["images_per_s"], p50_ms=found["median_ms"], p99_ms=found["p99_ms"]
    )
