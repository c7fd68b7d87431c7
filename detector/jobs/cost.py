"""Counts what a decoupled network multiplies for the images of a data set."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detector.data import Splits
from detector.decoupling import DecoupledNetwork, LayerMacs, MacCount, is_always_open
from detector.devices import exact_32_bit
from detector.errors import InvalidInputError
from detector.fingerprints import network_digest
from detector.jobs.cost_report import CostReport, LayerCost, Spread
from detector.jobs.image_order import ImageOrder
from detector.jobs.progress import Progress
from detector.path_table import SplitName
from detector.preprocessing import Preprocessing
from detector.tracing import computing

__all__ = ["CostOptions", "measure_cost"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CostOptions:
    """Which images are counted, and how.

    Args:
        split: Their split. Nothing is chosen by a count, so that test images may be looked at.
        limit: Most images, drawn in the fixed order of extraction; all of the split by default.
        batch_size: Images that the network sees at once, positive.
        quiet: Whether to show no progress.

    Raises:
        InvalidInputError: If a number is too small.
    """

    split: SplitName = SplitName.TEST
    limit: int | None = None
    batch_size: int = 100
    quiet: bool = False

    def __post_init__(self) -> None:
        for name in ("limit", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInputError(f"{name} should be at least 1. Found {value}.", field=name)


def measure_cost(network: DecoupledNetwork, splits: Splits, options: CostOptions) -> CostReport:
    """What a network multiplies for each of some clean images.

    Of an image no more is kept than one number.

    Args:
        network: The network, in evaluation mode.
        splits: The images, and how they become its input.
        options: Which of them.

    Raises:
        InvalidInputError: If the network is a plain one, or cannot read images of this size.
        BackboneError: If it multiplies where nothing would be counted.
        DataError: If an image cannot be read.
    """
    if is_always_open(network):
        raise InvalidInputError(
            "The network should be decoupled. Found a plain one, which has no gates and multiplies "
            "the same for every image. Give the decoupled one.",
            field="network",
        )
    side = splits.preprocessing
    macs = MacCount.of(network, height=side.height, width=side.width)
    totals = array("q")
    kept = torch.zeros(len(macs.layers), dtype=torch.int64)
    for bits in _paths(network, splits, options):
        of_layers = macs.kept(bits)  # (B, layers)
        kept += of_layers.sum(dim=0)
        totals.extend((of_layers.sum(dim=1) + macs.modules.total).tolist())
    return CostReport(
        network=network_digest(network),
        split=options.split.value,
        images=len(totals),
        height=side.height,
        width=side.width,
        plain=macs.plain,
        modules=macs.modules,
        total=Spread.of(np.asarray(totals) / macs.plain),
        layers=tuple(
            _layer(layer, int(sum_kept), len(totals))
            for layer, sum_kept in zip(macs.layers, kept, strict=True)
        ),
    )


def _paths(network: DecoupledNetwork, splits: Splits, options: CostOptions) -> Iterator[Tensor]:
    """The bits of the images' paths, batch by batch, in main memory."""
    order = ImageOrder.of(splits, options.split, options.limit)
    with Progress.shown("Counting", order.asked, quiet=options.quiet) as progress:
        for start in range(0, order.asked, options.batch_size):
            rows = order.order[start : min(start + options.batch_size, order.asked)].tolist()
            yield _bits(
                network, order.images.read(rows, splits.preprocessing), splits.preprocessing
            )
            progress.advance(len(rows))


@torch.inference_mode()
def _bits(network: DecoupledNetwork, images: Tensor, preprocessing: Preprocessing) -> Tensor:
    device = next(network.parameters()).device
    inputs = preprocessing(images.to(device, memory_format=torch.channels_last))
    with computing(), exact_32_bit(device):
        bits: Tensor = network(inputs).path.bits
    return bits.cpu()


def _layer(layer: LayerMacs, sum_kept: int, images: int) -> LayerCost:
    module = layer.module
    return LayerCost(
        layer=layer.name,
        plain=layer.dense,
        kept=sum_kept / (images * layer.dense),
        gates=layer.flow.writes.channels if layer.flow is not None and module is not None else 0,
        reads_gated=layer.flow is not None and layer.flow.reads_gated,
        module=module,
    )
