"""Unit costs: passes through the network for each attack, and the time that a pass takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from detector.attacks import AttackSpec, attack_images, attackable
from detector.decoupling import DecoupledNetwork
from detector.devices import exact_32_bit
from detector.preprocessing import Preprocessing

__all__ = ["Passes", "Seconds", "now", "passes_of", "seconds_of"]

_REPEATS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Passes:
    """Passes through the network, for each image.

    Args:
        forward: Without a gradient.
        gradient: Forward and back to the pixels.
    """

    forward: float
    gradient: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Seconds:
    """What one pass of one image takes on one device, or on one core.

    Args:
        forward: Without a gradient, in seconds.
        gradient: Forward and back to the pixels, in seconds.
    """

    forward: float
    gradient: float

    def of(self, passes: Passes) -> float:
        """Seconds that some passes of one image take."""
        return passes.forward * self.forward + passes.gradient * self.gradient


@dataclass(slots=True)
class _Counter:
    """Counts images as they enter a network."""

    forward: int = 0
    gradient: int = 0

    def __call__(self, _network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (images, *_) = inputs
        if torch.is_grad_enabled() and images.requires_grad:
            self.gradient += len(images)
        else:
            self.forward += len(images)


def passes_of(
    network: DecoupledNetwork,
    preprocessing: Preprocessing,
    images: Tensor,
    labels: Tensor,
    spec: AttackSpec,
) -> Passes:
    """Passes that an attack takes, in all ways through the gates, with the look at what came out.

    Args:
        network: A trained network: some attacks stop at images that are fooled.
        preprocessing: How images become its input.
        images: uint8 of shape (B, 3, H, W).
        labels: True classes, int64 of shape (B,).
        spec: The attack.
    """
    counter = _Counter()
    handle = network.register_forward_pre_hook(counter)
    try:
        attack_images(network, preprocessing, images, labels, spec.build())
    finally:
        handle.remove()
    count = len(images)
    return Passes(forward=counter.forward / count + 1, gradient=counter.gradient / count)


def seconds_of(network: DecoupledNetwork, batch: Tensor) -> Seconds:
    """What a pass takes: the least of five measurements each, after one that does not count.

    As attacks do it: in full 32-bit floats where bits and classes are looked at, while gradients
    may be rounded as the device likes.

    Args:
        network: The network, in evaluation mode, on the device of the batch.
        batch: Its input, float of shape (B, 3, H, W).
    """

    def forward() -> None:
        with torch.no_grad(), exact_32_bit(batch.device):
            network(batch)

    def gradient() -> None:
        pixels = batch.clone().requires_grad_()
        logits = network(pixels).class_logits
        loss = functional.cross_entropy(logits, logits.argmax(dim=1))
        torch.autograd.grad(loss, pixels)

    with attackable(network):
        return Seconds(
            forward=_least(forward, batch.device) / len(batch),
            gradient=_least(gradient, batch.device) / len(batch),
        )


def now(device: torch.device) -> float:
    """Seconds of the device's own: of its clock, or of this process' cores where there is no GPU.

    Cores are shared, and others' work on them is none of ours.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def _least(function: Callable[[], None], device: torch.device) -> float:
    times = []
    for _ in range(1 + _REPEATS):
        started = now(device)
        function()
        times.append(now(device) - started)
    return min(times[1:])
