"""Whether images of a batch could be computed together where they open the same gates."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from detector.decoupling import DecoupledNetwork, LayerMacs, MacCount
from detector.devices import threads
from detector.preprocessing import Preprocessing
from detector.weights import load_gated
from tests.figures.bench import Bench
from tests.figures.figure import Figure, reported

__all__ = ["group_sizes", "grouping", "layer_gates"]

_WEIGHTS = Path(__file__).parent / "weights"
_WIDE = "wide ResNet-8"
_BATCH = 32
_BATCHES = 62
_FEW = 8
_SIZES = (1, 2, 4, 8, 16, 32)
_CALLS = 25


@dataclass(frozen=True, kw_only=True, slots=True)
class _Paths:
    """The paths of test images through a network.

    Args:
        network: The network.
        macs: What it multiplies.
        images: Its input, of one batch.
        bits: Batch by batch, bool of shape (batches, 32, G).
    """

    network: DecoupledNetwork
    macs: MacCount
    images: Tensor
    bits: Tensor

    @property
    def gated(self) -> list[LayerMacs]:
        """The layers that have gates."""
        return [layer for layer in self.macs.layers if layer.module is not None]


def grouping(bench: Bench) -> list[Figure]:
    """In how many groups a batch of 32 test images falls, layer by layer, and what they would save.

    The images of a group open the same gates of a layer. One convolution of a group can leave out
    closed channels as well only if its images agree in what the layer reads, too. Instead of that a
    batch could compute, at once, all that any of its images opens. The times that both would leave
    are bounds from below: sorting images, gathering weights and dropping what is closed in one
    image alone are not in them.
    """
    found: list[Figure] = []
    for name, paths in _subjects(bench):
        found += _groups(name, paths)
        if name == _WIDE:
            with threads(1):
                found += _times_left(name, paths)
    return found


def group_sizes(bits: Tensor) -> list[int]:
    """How many images each pattern of gates has, the most common first.

    Args:
        bits: Bool of shape (B, gates).
    """
    return sorted(bits.unique(dim=0, return_counts=True)[1].tolist(), reverse=True)


def layer_gates(layer: LayerMacs, macs: MacCount, *, reads: bool) -> Tensor:
    """The gates that close what a layer writes and, where asked, what it reads; int64 of (g,)."""
    if layer.flow is None:
        return torch.empty(0, dtype=torch.int64)
    parts = [layer.flow.output_gates(macs.layout)]
    if reads:
        parts.append(layer.flow.input_gates(macs.layout))
    gates = torch.cat(parts)
    return gates[gates >= 0]


def _subjects(bench: Bench) -> Iterator[tuple[str, _Paths]]:
    pipeline = bench.pipeline
    yield "bundled default", _paths(bench, pipeline.network, pipeline.preprocessing)
    for name, file in (("sparse ResNet-20", "open-0.6"), (_WIDE, "wide-resnet8")):
        network, info = load_gated(_WEIGHTS / f"{file}.safetensors")
        yield name, _paths(bench, network.eval(), info.preprocessing)


@torch.inference_mode()
def _paths(bench: Bench, network: DecoupledNetwork, side: Preprocessing) -> _Paths:
    batches = bench.splits.test.read(range(_BATCHES * _BATCH), side).split(_BATCH)
    return _Paths(
        network=network,
        macs=MacCount.of(network, height=side.height, width=side.width),
        images=side(batches[0]),
        bits=torch.stack([network(side(batch)).path.bits for batch in batches]),
    )


def _groups(name: str, paths: _Paths) -> Iterator[Figure]:
    for which, reads in (("", False), (" and of what it reads", True)):
        sizes = [
            group_sizes(batch[:, layer_gates(layer, paths.macs, reads=reads)])
            for layer in paths.gated
            for batch in paths.bits
        ]
        groups = np.array([len(each) for each in sizes])
        largest = float(np.mean([each[0] for each in sizes]))
        yield reported(
            f"{name}: groups of {_BATCH} images with the same gates of a layer{which}",
            f"{groups.mean():.1f} (mean), in {(groups < _FEW).mean():.0%} of layers and batches "
            f"fewer than {_FEW}; largest {largest:.1f} images",
        )
    kept, of_any = (
        float(paths.macs.kept(bits).sum(dim=1).double().mean()) / paths.macs.plain
        for bits in (paths.bits.flatten(0, 1), paths.bits.any(dim=1))
    )
    yield reported(
        f"{name}: MACs kept by an image; with all that any of {_BATCH} opens",
        f"{kept:.1%}; {of_any:.1%}",
    )


def _times_left(name: str, paths: _Paths) -> Iterator[Figure]:
    """What is left of the time that gated convolutions of images one by one take."""
    alone = grouped = together = 0.0
    for layer in paths.gated:
        gates = layer_gates(layer, paths.macs, reads=True)
        seconds = _convolution_seconds(layer, paths, paths.bits)
        sizes = [size for batch in paths.bits for size in group_sizes(batch[:, gates])]
        alone += _BATCH * _BATCHES * seconds[0]
        grouped += float(np.interp(sizes, _SIZES, seconds).sum())
        together += _BATCHES * _convolution_seconds(layer, paths, paths.bits.any(dim=1))[-1]
    for which, left in (
        ("of groups", grouped),
        (f"of all that any of {_BATCH} opens, at once", together),
    ):
        yield reported(
            f"{name}: time of gated convolutions, {which} / one by one", f">= {left / alone:.2f}"
        )


@torch.inference_mode()
def _convolution_seconds(layer: LayerMacs, paths: _Paths, bits: Tensor) -> Sequence[float]:
    """Time of one convolution of so many images as `_SIZES` has, of as many channels as are open.

    Args:
        layer: Which convolution.
        paths: Whose network and images.
        bits: Whose mean counts of open gates, bool of shape (..., G).
    """
    module = cast("nn.Conv2d", paths.network.backbone.get_submodule(layer.name))
    seen: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        paths.network(paths.images)
    finally:
        hook.remove()
    filters = _open(bits, layer_gates(layer, paths.macs, reads=False))
    read = layer_gates(layer, paths.macs, reads=True)[module.out_channels :]
    channels = _open(bits, read) if len(read) else module.in_channels
    weight = module.weight[:filters, :channels].contiguous()
    found = []
    for size in _SIZES:
        images = seen[0][:size, :channels].contiguous()
        times = []
        for _ in range(1 + _CALLS):
            started = time.thread_time()
            functional.conv2d(images, weight, None, module.stride, module.padding)
            times.append(time.thread_time() - started)
        found.append(statistics.median(times[1:]))
    return found


def _open(bits: Tensor, gates: Tensor) -> int:
    """How many of some gates an image opens, on average."""
    return round(float(bits[..., gates].sum(dim=-1).double().mean()))
