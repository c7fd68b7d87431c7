"""What the gates of each layer do on a set of images: the health of a decoupled network."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from detector.decoupling import DecoupledNetwork, DecouplingLoss

__all__ = ["LayerStatistics", "NetworkStatistics", "gate_statistics"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerStatistics:
    """One gated layer.

    Args:
        name: Name of the layer.
        open_share: Share of gates that are open, in [0, 1].
        diversity: Mean distance of a gate from its mean over images, in [0, .5]; 0 means that
            all images take the same path.
        information: Lower bound on the mutual information of gates and class, nats.
    """

    name: str
    open_share: float
    diversity: float
    information: float


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkStatistics:
    """A decoupled network on a set of images.

    Args:
        accuracy: Share of images that are classified correctly, in [0, 1].
        layers: Each gated layer.
    """

    accuracy: float
    layers: tuple[LayerStatistics, ...]


@torch.no_grad()
def gate_statistics(
    network: DecoupledNetwork, loss: DecouplingLoss, batches: Iterable[tuple[Tensor, Tensor]]
) -> NetworkStatistics:
    """Measure a network in evaluation mode.

    Args:
        network: The network; its mode is left as it was.
        loss: The loss whose heads bound the information.
        batches: Normalised images (B, 3, H, W) and labels (B,), all of the same network.
    """
    was_training = network.training
    try:
        return _measure(network.eval(), loss, batches)
    finally:
        network.train(was_training)


def _measure(
    network: DecoupledNetwork, loss: DecouplingLoss, batches: Iterable[tuple[Tensor, Tensor]]
) -> NetworkStatistics:
    layers = network.layout.layers
    open_gates = torch.zeros(network.layout.gates, dtype=torch.float64)
    head_losses = torch.zeros(layers, dtype=torch.float64)
    images, correct = 0, 0
    for pixels, labels in batches:
        output = network(pixels)
        images += len(labels)
        correct += int((output.class_logits.argmax(dim=1) == labels).sum())
        open_gates += output.path.bits.sum(dim=0).cpu()
        for index, (record, head) in enumerate(zip(output.records, loss.heads, strict=True)):
            total = functional.cross_entropy(head(record.values), labels, reduction="sum")
            head_losses[index] += float(total)
    rates = open_gates / images
    return NetworkStatistics(
        accuracy=correct / images,
        layers=tuple(
            LayerStatistics(
                name=name,
                open_share=float(rates[part].mean()),
                diversity=float((2 * rates[part] * (1 - rates[part])).mean()),
                information=max(0.0, math.log(loss.classes) - float(head_losses[index]) / images),
            )
            for index, (name, part) in enumerate(
                zip(network.layout.names, network.layout.slices, strict=True)
            )
        ),
    )
