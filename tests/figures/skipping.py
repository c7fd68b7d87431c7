"""What it saves to leave out closed filters, beside the plain network, with and without verdict."""

from __future__ import annotations

import copy
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from detector.decoupling import Backbone, DecoupledNetwork
from detector.decoupling.skipping import SkippingNetwork, choose_plan
from detector.devices import threads
from detector.pipeline import Pipeline
from detector.preprocessing import CIFAR10_PREPROCESSING, IMAGENET_PREPROCESSING
from detector.weights import NetworkInfo, build_network, load_gated
from tests.figures.bench import Bench
from tests.figures.figure import Figure
from tests.figures.subjects import mosaics
from tests.figures.untrained import fast_pipeline

__all__ = ["skipping"]

_WIDE = Path(__file__).parent / "weights" / "wide-resnet8.safetensors"
_CLASSES = tuple(f"class {index}" for index in range(10))
_CALIBRATED_ON = 100
_BATCH = 32
_DRAWS = 3
_MOST_LOSS = 1.03

Runs = Mapping[str, Callable[[Tensor], object]]
_PLAIN, _COMPILED = "plain, eager", "plain, compiled"
_MASKED, _SKIPPED = "masked", "skipped"
_MASKED_VERDICT, _SKIPPED_VERDICT = "masked with verdict", "skipped with verdict"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Subject:
    """A network, what it is measured on, and its targets as shares of the plain one's time."""

    name: str
    pipeline: Pipeline
    images: Tensor
    alone: float
    with_verdict: float | None
    rounds: int
    calls: int


def skipping(bench: Bench) -> list[Figure]:
    """Time of one image, and of an image in a batch of 32, as a share of the plain network's.

    One thread. All ways run in turns, some calls each, and the median of the turns' ratios counts.
    It is the thread's own time that is measured: what else runs on the core does not count. The
    plain network is the faster one of torch's eager way, in the layout of pixels, and
    ``torch.compile``. The plan of the network that skips is that of a server's warm-up.
    """
    with threads(1):
        found = _figures(_wide(bench))
        for draw in range(_DRAWS):
            found += _figures(_large(bench, draw), batch=not draw)
        return found


def _wide(bench: Bench) -> _Subject:
    """The wide ResNet-8 with test images; untrained where its weights are not there."""
    images = bench.pixels(bench.splits.test, 8 * _BATCH)
    trained = _WIDE.exists()
    if trained:
        network, info = load_gated(_WIDE)
    else:
        info = NetworkInfo(
            backbone=Backbone.CIFAR_WIDE_RESNET8,
            class_names=_CLASSES,
            preprocessing=CIFAR10_PREPROCESSING,
        )
        network = _half_open(info, images, 0)
    return _Subject(
        name="wide ResNet-8" if trained else "wide ResNet-8 at random",
        pipeline=fast_pipeline(network.eval(), info, images[:_CALIBRATED_ON]),
        images=images,
        alone=0.70,
        with_verdict=0.85,
        rounds=25,
        calls=8,
    )


def _large(bench: Bench, draw: int) -> _Subject:
    info = NetworkInfo(
        backbone=Backbone.RESNET18, class_names=_CLASSES, preprocessing=IMAGENET_PREPROCESSING
    )
    images = mosaics(bench.pixels(bench.splits.test, _BATCH * 49))
    network = _half_open(info, images[:8], draw)
    return _Subject(
        name=f"ResNet-18 at 224, gates at random {1 + draw}",
        pipeline=fast_pipeline(network, info, images),
        images=images,
        alone=0.60,
        with_verdict=None,
        rounds=7,
        calls=2,
    )


@torch.no_grad()
def _half_open(info: NetworkInfo, images: Tensor, draw: int) -> DecoupledNetwork:
    """Random weights, and biases that let half of each layer's gates open; which ones, images say.

    Layer by layer, as the gates of one decide what the next one sees: each gate's logit has its
    median over some images at a random number whose sign is even.
    """
    torch.manual_seed(draw)
    network = build_network(info).eval()
    inputs = info.preprocessing(images)
    for layer, controller in enumerate(network.controllers):
        controller.excite.bias.zero_()
        logits = network(inputs).records[layer].logits
        wished = torch.randn(logits.shape[1]) * logits.std(dim=0)
        controller.excite.bias.copy_(wished - logits.median(dim=0).values)
    return network


def _figures(subject: _Subject, *, batch: bool = True) -> list[Figure]:
    pipeline, images = subject.pipeline, subject.images
    prepared = pipeline.prepared(images[: 2 * _BATCH])
    choice, network = choose_plan(pipeline.network, prepared[:4], _BATCH)
    runs = _runs(pipeline, network, prepared[:1])
    alone = _ratios(runs, images.split(1), subject.rounds, subject.calls)
    plain = min((_PLAIN, _COMPILED), key=lambda name: statistics.median(alone.get(name, [9.9])))
    found = [
        _figure(subject.name, "alone", alone, _SKIPPED, plain, subject.alone),
        _figure(subject.name, "alone", alone, _SKIPPED_VERDICT, plain, subject.with_verdict),
        _figure(subject.name, "alone", alone, _MASKED, plain, None),
        _figure(subject.name, "alone", alone, _MASKED_VERDICT, plain, None),
    ]
    if not batch:
        return found[:2]
    together = _ratios(runs, images.split(_BATCH), max(3, subject.rounds // 5), 1)
    served = _SKIPPED if choice.pays else _MASKED
    name = f"batches of {_BATCH}, as planned ({served})"
    found.append(_figure(subject.name, name, together, served, _MASKED, _MOST_LOSS))
    found.append(_figure(subject.name, f"batches of {_BATCH}", together, _SKIPPED, _PLAIN, None))
    return found


def _runs(pipeline: Pipeline, network: SkippingNetwork, image: Tensor) -> Runs:
    """Each way from uint8 images on; they share what is before the network."""
    plain = copy.deepcopy(pipeline.network).detach_hooks().eval()
    plain = plain.to(memory_format=torch.channels_last)
    skipped = copy.copy(pipeline)
    skipped.skip(network)
    runs: dict[str, Callable[[Tensor], object]] = {
        _PLAIN: lambda images: plain(pipeline.prepared(images)),
        _MASKED: lambda images: pipeline.network(pipeline.prepared(images)),
        _SKIPPED: lambda images: network(pipeline.prepared(images)),
        _MASKED_VERDICT: lambda images: _verdicts(pipeline, images),
        _SKIPPED_VERDICT: lambda images: _verdicts(skipped, images),
    }
    compiled = _compiled(plain, image)
    if compiled is not None:
        runs[_COMPILED] = lambda images: compiled(pipeline.prepared(images))
    return runs


def _compiled(plain: nn.Module, image: Tensor) -> nn.Module | None:
    """The network under ``torch.compile``; None where that takes a compiler that is not there."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        compiled: nn.Module = torch.compile(plain, dynamic=False)  # type: ignore[assignment]
        try:
            compiled(image)
        except Exception:  # noqa: BLE001  # whatever the compiler lacks, eager is the measure then
            return None
    return compiled


def _verdicts(pipeline: Pipeline, images: Tensor) -> None:
    findings = pipeline.analyse(images)
    for row in range(len(images)):
        pipeline.detect(findings, row)


@torch.inference_mode()
def _ratios(
    runs: Runs, batches: Sequence[Tensor], rounds: int, calls: int
) -> dict[str, list[float]]:
    """Seconds of an image in each round, by way."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(1 + rounds):
        chosen = [batches[(turn * calls + call) % len(batches)] for call in range(calls)]
        for name, run in runs.items():
            run(chosen[0])  # back into the core's caches
            started = time.thread_time()
            for images in chosen:
                run(images)
            spent = time.thread_time() - started
            if turn:
                seconds[name].append(spent / calls / len(chosen[0]))
    return seconds


def _figure(
    subject: str,
    how: str,
    seconds: Mapping[str, list[float]],
    way: str,
    against: str,
    target: float | None,
) -> Figure:
    ratios = [one / other for one, other in zip(seconds[way], seconds[against], strict=True)]
    ratio = statistics.median(ratios)
    one, other = (1000 * statistics.median(seconds[name]) for name in (way, against))
    low, high = (sorted(ratios)[int(share * (len(ratios) - 1))] for share in (0.25, 0.75))
    return Figure(
        name=f"{subject}, {how}: {way} / {against}",
        target="" if target is None else f"<= {target:.2f} of the time",
        measured=f"{ratio:.3f}, quartiles {low:.3f} to {high:.3f} ({one:.2f} / {other:.2f} ms)",
        holds=None if target is None else ratio <= target,
    )
