"""Measures, on this machine, which layers skip best and whether that pays."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from detector.decoupling.network import DecoupledNetwork
from detector.decoupling.skipping.compiling import Compiler
from detector.decoupling.skipping.network import SkippingNetwork
from detector.decoupling.skipping.plan import SkippingPlan, Way
from detector.decoupling.skipping.program import Program, Spent
from detector.devices import exact_32_bit

__all__ = ["Comparison", "SkippingChoice", "choose_plan"]

_ROUNDS = 3
_LEAST_TURNS = 2
_PATIENCE_S = 2.0
"""Longest time for one comparison after these turns, seconds: a server is waiting."""
_LEAST_GAIN = 0.03
"""A gain below what two measurements differ by is none."""
_MOST_LOSS = 0.03
_HOPELESS = 0.2
"""Who is so much slower than would pay in the fastest of a few looks needs no further ones."""
_LOOKS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How long a batch took as the network computes it, and skipped.

    Args:
        images: Size of the batch.
        masked_s: As the network computes it, seconds.
        skipped_s: Skipped, seconds.
    """

    images: int
    masked_s: float
    skipped_s: float

    @property
    def ratio(self) -> float:
        """Skipped time over masked time."""
        return self.skipped_s / self.masked_s


@dataclass(frozen=True, kw_only=True, slots=True)
class SkippingChoice:
    """What was measured of a network, and what follows.

    Args:
        plan: The fastest way of each layer, of those that its convolution and what it reads allow.
        alone: One image.
        together: The largest batch.
    """

    plan: SkippingPlan
    alone: Comparison
    together: Comparison

    @property
    def pays(self) -> bool:
        """Whether one image gets faster and the largest batch not slower.

        One answer for all sizes: an image's numbers must not hang on those beside it.
        """
        return self.alone.ratio <= 1 - _LEAST_GAIN and self.together.ratio <= 1 + _MOST_LOSS

    @property
    def is_hopeless(self) -> bool:
        """Whether it is so far from paying that better measurements would change nothing."""
        return (
            self.alone.ratio > 1 - _LEAST_GAIN + _HOPELESS
            or self.together.ratio > 1 + _MOST_LOSS + _HOPELESS
        )

    def to_json(self) -> dict[str, Any]:
        """Plan and times as plain JSON values."""
        return {
            "pays": self.pays,
            "layers": self.plan.to_json(),
            "seconds": [
                {"images": each.images, "masked": each.masked_s, "skipped": each.skipped_s}
                for each in (self.alone, self.together)
            ],
        }


def choose_plan(
    network: DecoupledNetwork, images: Tensor, largest_batch: int
) -> tuple[SkippingChoice, SkippingNetwork]:
    """Time every way of every layer, then the network with the fastest of each.

    In a network that skips, images run one by one: what is fastest for one is so for a batch. Where
    a few looks show that nothing would pay by far, they are all that is measured: a server waits.

    Args:
        network: In evaluation mode, on the device that counts.
        images: Some images, preprocessed, shape (N, 3, H, W), N at least 1; their gates decide.
        largest_batch: Size of the largest batch that it will see.

    Returns:
        What was measured, and the network that follows the plan.
    """
    compiler = Compiler(network)
    largest_batch = max(1, largest_batch)
    tried = _Tried(
        names=compiler.layout.names,
        allowed=tuple(compiler.ways_of(name) for name in compiler.layout.names),
        programs={
            way: compiler.program(SkippingPlan.uniform(compiler.layout.names, way)) for way in Way
        },
    )
    # As it serves: on some GPUs the network would else be timed in another arithmetic.
    with exact_32_bit(images.device):
        glance = _glance(network, tried, images, largest_batch)
        plan = glance.plan if glance.is_hopeless else tried.plan(_fastest_ways(tried, images))
        skipping = SkippingNetwork(compiler.program(plan), network.layout, plan)
        if glance.is_hopeless:
            return glance, skipping
        alone, together = (
            _compared(network, skipping, images, size) for size in (1, largest_batch)
        )
    return SkippingChoice(plan=plan, alone=alone, together=together), skipping


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tried:
    """What is timed.

    Args:
        names: The gated layers.
        allowed: The ways that differ, of each.
        programs: The network with all its layers computed in one way, by that way.
    """

    names: tuple[str, ...]
    allowed: tuple[tuple[Way, ...], ...]
    programs: Mapping[Way, Program]

    def plan(self, ways: Iterable[Way]) -> SkippingPlan:
        """A way for each layer."""
        return SkippingPlan(names=self.names, ways=tuple(ways))


@torch.inference_mode()
def _glance(
    network: DecoupledNetwork, tried: _Tried, images: Tensor, largest_batch: int
) -> SkippingChoice:
    """What a few looks at one image say: each step's fastest time, as if no time lay between."""
    now = _clock(images.device)
    image = images[:1].contiguous()
    looks: list[tuple[Way, Spent]] = []
    for way, program in tried.programs.items():
        program.spent(image, now)  # the first one meets every shape for the first time
        looks += [(way, program.spent(image, now)) for _ in range(_LOOKS)]
    fastest = [
        min((look.layers_s[layer], way) for way, look in looks if way in allowed)
        for layer, allowed in enumerate(tried.allowed)
    ]
    skipped_s = sum(seconds for seconds, _ in fastest) + min(look.rest_s for _, look in looks)
    alone, together = (
        Comparison(
            images=size,
            masked_s=min(_masked_seconds(network, images, size, now) for _ in range(1 + _LOOKS)),
            skipped_s=size * skipped_s,
        )
        for size in (1, largest_batch)
    )
    plan = tried.plan(way for _, way in fastest)
    return SkippingChoice(plan=plan, alone=alone, together=together)


def _masked_seconds(
    network: DecoupledNetwork, images: Tensor, size: int, now: Callable[[], float]
) -> float:
    rows = torch.arange(size, device=images.device) % len(images)
    batch = images[rows].contiguous(memory_format=torch.channels_last)
    started = now()
    network(batch)
    return now() - started


@torch.inference_mode()
def _fastest_ways(tried: _Tried, images: Tensor) -> list[Way]:
    now = _clock(images.device)
    singles = [image.contiguous() for image in torch.split(images, 1)]
    seconds: dict[Way, list[list[float]]] = {way: [] for way in Way}
    for round_number in range(1 + _ROUNDS):
        for way, program in tried.programs.items():
            found = [list(program.spent(image, now).layers_s) for image in singles]
            if round_number:  # the first one meets every shape for the first time
                seconds[way] += found
    medians = {
        way: [statistics.median(column) for column in zip(*rows, strict=True)]
        for way, rows in seconds.items()
    }
    return [
        min(allowed, key=lambda way: medians[way][layer])
        for layer, allowed in enumerate(tried.allowed)
    ]


@torch.inference_mode()
def _compared(
    network: DecoupledNetwork, skipping: SkippingNetwork, images: Tensor, size: int
) -> Comparison:
    """Both in turns, each in its fastest: what slows a moment of the machine slows no other."""
    now = _clock(images.device)
    ends = now() + _PATIENCE_S
    rows = torch.arange(size, device=images.device)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(1 + _ROUNDS * len(images)):
        batch = images[(rows + turn) % len(images)].contiguous(memory_format=torch.channels_last)
        for skips, run in ((False, network), (True, skipping)):
            started = now()
            run(batch)
            seconds[skips].append(now() - started)
        if turn >= _LEAST_TURNS and now() > ends:
            break
    masked_s, skipped_s = (min(seconds[skips][1:]) for skips in (False, True))
    return Comparison(images=size, masked_s=masked_s, skipped_s=skipped_s)


def _clock(device: torch.device) -> Callable[[], float]:
    """A clock that has waited for what was asked of the device."""
    if device.type != "cuda":
        return time.perf_counter

    def now() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return now
