"""Where gated filters are lit: activation maps above a high quantile, at the size of the input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detector.decoupling import DecoupledNetwork
from detector.devices import exact_32_bit
from detector.jobs.interpretation.mask_file import MaskedImages

__all__ = ["TOP_SHARES", "LitFilter", "best_filters", "lit_patterns", "top_thresholds"]

TOP_SHARES: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""The shares of all places at which a filter may count as lit: the reference's .005, and more.

A filter that is lit in one place of 200 cannot cover a concept that fills a tenth of the pixels.
"""

_SAMPLE = 8192
"""Places of each filter that its quantiles are taken from."""

_BATCH = 8

_VALUES = 2**22
"""Most activations at the size of the input at once: 16 MB, however many filters a layer has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LitFilter:
    """A filter and the activation above which it counts as lit.

    Args:
        gate: Index of the filter among all gated ones.
        top_share: Share of places in which it is to be lit.
        threshold: Activation behind the gate, at least 0: what a closed filter passes on is 0.
    """

    gate: int
    top_share: float
    threshold: float


_See = Callable[[slice, Tensor], None]
"""Told the gates of a layer and what its filters pass on, shape (B, C, h, w)."""


@torch.inference_mode()
def _visit(network: DecoupledNetwork, inputs: Tensor, see: _See) -> None:
    """Show the gated maps of each layer, one after the other: only one is in memory for it."""
    modules = dict(network.backbone.named_modules())

    def teller(gates: slice) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _inputs, output: see(gates, output)

    handles = []
    try:
        for site, gates in zip(network.sites, network.layout.slices, strict=True):
            # Behind the network's own hook, which hands its gated output on.
            handles.append(modules[site.output].register_forward_hook(teller(gates)))
        with exact_32_bit(inputs.device):
            network(inputs)
    finally:
        for handle in handles:
            handle.remove()


def _batches(
    network: DecoupledNetwork,
    images: MaskedImages,
    rows: Sequence[int],
    done: Callable[[int], None],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs of the network, (B, 3, H, W), and masks, (B, K, H, W)."""
    device = next(network.parameters()).device
    for start in range(0, len(rows), _BATCH):
        some = [images.read(row) for row in rows[start : start + _BATCH]]
        pixels = torch.stack([each for each, _ in some]).to(device)
        yield images.preprocessing(pixels), torch.stack([masks for _, masks in some]).to(device)
        done(len(some))


def _upsampled(maps: Tensor, like: Tensor) -> Tensor:
    size = list(like.shape[-2:])
    return nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def top_thresholds(
    network: DecoupledNetwork,
    images: MaskedImages,
    rows: Sequence[int],
    *,
    seed: int,
    done: Callable[[int], None],
) -> NDArray[np.float32]:
    """The activation that each filter exceeds in each of `TOP_SHARES`, over a sample of places.

    Args:
        network: The network, in evaluation mode.
        images: Images.
        rows: Which of them, at least one; of very many only the first are sampled.
        seed: Seed of the places.
        done: Told how many images were looked at.

    Returns:
        Thresholds, at least 0, of shape (S, G).
    """
    generator = torch.Generator().manual_seed(seed)
    each = math.ceil(_SAMPLE / len(rows))
    found: dict[int, list[NDArray[np.float32]]] = {}

    def see(gates: slice, maps: Tensor) -> None:
        flat = maps.flatten(2)  # (B, C, h w)
        places = torch.randperm(flat.shape[2], generator=generator)[:each].to(flat.device)
        values = flat[:, :, places].transpose(0, 1).flatten(1)  # (C, B P)
        found.setdefault(gates.start, []).append(values.cpu().numpy())

    for inputs, _ in _batches(network, images, rows[:_SAMPLE], done):
        _visit(network, inputs, see)
    levels = 1 - np.array(TOP_SHARES)
    layers = [
        np.quantile(np.concatenate(found[gates.start], axis=1), levels, axis=1)  # (S, C)
        for gates in network.layout.slices
    ]
    thresholds: NDArray[np.float32] = np.maximum(np.concatenate(layers, axis=1), 0)
    return thresholds.astype(np.float32)


def best_filters(
    network: DecoupledNetwork,
    images: MaskedImages,
    rows: Sequence[int],
    thresholds: NDArray[np.float32],
    *,
    most: int,
    done: Callable[[int], None],
) -> tuple[tuple[LitFilter, ...], ...]:
    """The filters whose lit places fit each concept best, each with the threshold that fits best.

    Intersections and unions are summed over all images before they are divided; nothing else is
    kept of an image.

    Args:
        network: The network, in evaluation mode.
        images: Images.
        rows: Which of them.
        thresholds: Of each top share and filter, shape (S, G).
        most: Most filters of a concept.
        done: Told how many images were looked at.

    Returns:
        For each concept its filters, the best first.
    """
    counts = _Counts(thresholds, len(images.concepts))
    for inputs, masks in _batches(network, images, rows, done):

        def see(gates: slice, maps: Tensor, masks: Tensor = masks) -> None:
            for image, places in zip(maps, masks, strict=True):
                counts.add(gates, image, places)

        _visit(network, inputs, see)
        counts.of_concept += masks.sum(dim=(0, 2, 3)).cpu().numpy()
    iou = counts.iou()  # (S, G, K)
    return tuple(_best(iou[:, :, k], thresholds, most) for k in range(len(images.concepts)))


class _Counts:
    """Pixels that are lit, that have a concept, and both, for every filter and threshold.

    Args:
        thresholds: Of each top share and filter, shape (S, G).
        concepts: Number of concepts, K.
    """

    def __init__(self, thresholds: NDArray[np.float32], concepts: int) -> None:
        self._thresholds = torch.from_numpy(thresholds)
        self._lit = np.zeros(thresholds.shape, dtype=np.int64)
        self._both = np.zeros((*thresholds.shape, concepts), dtype=np.int64)
        self.of_concept = np.zeros(concepts, dtype=np.int64)

    def add(self, gates: slice, maps: Tensor, masks: Tensor) -> None:
        """Count what filters of a layer, (C, h, w), light of one image and its masks, (K, H, W)."""
        marked = masks.any(dim=0).flatten().nonzero().flatten()
        # Whole numbers far below 2^24 for every input that is no poster: floats count exactly.
        concepts = masks.flatten(1)[:, marked].T.float()  # (M, K)
        step = max(1, _VALUES // masks[0].numel())
        for start in range(0, len(maps), step):
            full = _upsampled(maps[None, start : start + step], masks)[0].flatten(1)  # (c, H W)
            part = slice(gates.start + start, gates.start + start + len(full))
            within = full[:, marked]
            for place, row in enumerate(self._thresholds[:, part].to(full.device)):
                lit, both = full > row[:, None], within > row[:, None]
                self._lit[place, part] += lit.count_nonzero(dim=1).cpu().numpy()
                self._both[place, part] += (both.float() @ concepts).long().cpu().numpy()

    def iou(self) -> NDArray[np.float64]:
        """Intersection by union, summed over images before the division, (S, G, K)."""
        union = self._lit[:, :, None] + self.of_concept - self._both
        shares: NDArray[np.float64] = self._both / union
        return shares


def _best(
    iou: NDArray[np.float64], thresholds: NDArray[np.float32], most: int
) -> tuple[LitFilter, ...]:
    """The best filters by their IoU at each top share, (S, G)."""
    levels = iou.argmax(axis=0)  # (G,)
    order = np.argsort(-iou.max(axis=0), kind="stable")[:most]
    return tuple(
        LitFilter(
            gate=int(gate),
            top_share=TOP_SHARES[levels[gate]],
            threshold=float(thresholds[levels[gate], gate]),
        )
        for gate in order
    )


def lit_patterns(
    network: DecoupledNetwork,
    images: MaskedImages,
    rows: Sequence[int],
    filters: Sequence[Sequence[LitFilter]],
    *,
    done: Callable[[int], None],
) -> Iterator[NDArray[np.int64]]:
    """For each image, how many pixels have which of a concept's filters lit, and the concept.

    Whatever a rule about these filters says of an image follows from these counts alone.

    Args:
        network: The network, in evaluation mode.
        images: Images.
        rows: Which of them.
        filters: For each concept its filters, F of them.
        done: Told how many images were looked at.

    Yields:
        Counts of shape (K, 2^F, 2), the last axis being outside of the concept and within it; bit
        f of a pattern is set where filter f is lit.
    """
    size = 2 ** len(filters[0])
    for inputs, masks in _batches(network, images, rows, done):
        patterns = torch.zeros(masks.shape, dtype=torch.int16, device=masks.device)

        def see(gates: slice, maps: Tensor, patterns: Tensor = patterns) -> None:
            for concept, chosen in enumerate(filters):
                for bit, each in enumerate(chosen):
                    if gates.start <= each.gate < gates.stop:
                        channel = each.gate - gates.start
                        full = _upsampled(maps[:, channel : channel + 1], patterns)[:, 0]
                        patterns[:, concept] += (full > each.threshold).to(patterns.dtype) << bit

        _visit(network, inputs, see)
        cells = 2 * patterns + masks
        for image in cells.flatten(2):  # (K, H W)
            counts = [torch.bincount(each, minlength=2 * size) for each in image]
            yield torch.stack(counts).view(-1, size, 2).cpu().numpy()
