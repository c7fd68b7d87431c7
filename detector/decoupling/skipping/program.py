"""A network of one image as a list of small steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from detector.decoupling.skipping.features import dense
from detector.decoupling.skipping.operations import Reusing

__all__ = ["GateOutcome", "Program", "Spent", "Step"]

GateOutcome = tuple[Tensor, Tensor]
"""Gate logits of one layer and means of its gated channels, each of shape (C,)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One operation on numbered values.

    Args:
        run: What it computes.
        reads: Which values, in the order of its arguments.
        writes: Which value comes of it.
        is_gated: Whether it is a gated layer.
        is_new: Whether what it writes shares no memory with anything else.
        frees: Which values nobody reads any more.
    """

    run: Callable[..., Any]
    reads: tuple[int, ...]
    writes: int
    is_gated: bool = False
    is_new: bool = False
    frees: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """Where the time of one image went.

    Args:
        layers_s: In each gated layer, seconds.
        rest_s: In all other steps, seconds.
    """

    layers_s: tuple[float, ...]
    rest_s: float


class Program:
    """Steps from one image to its class logits; made once, so that nothing is looked up.

    Args:
        steps: In their order.
        constants: Values that are there before, by their number; 0 is the image.
        outcome: Which value the class logits are.
    """

    def __init__(self, steps: Sequence[Step], constants: dict[int, Any], outcome: int) -> None:
        self._steps = tuple(_reusing(_freeing(steps, kept={outcome, *constants})))
        values = 1 + max([0, *constants, *(step.writes for step in steps)])
        self._start = [constants.get(value) for value in range(values)]
        self._outcome = outcome

    def __call__(self, image: Tensor) -> tuple[Tensor, list[GateOutcome]]:
        """Class logits, (1, K), and what each gated layer decided.

        Args:
            image: Shape (1, 3, H, W), contiguous.
        """
        values = [image, *self._start[1:]]
        gates: list[GateOutcome] = []
        for step in self._steps:
            value = _run(step, values)
            if step.is_gated:
                gates.append((value.logits, value.means()))
        return dense(values[self._outcome]), gates

    def spent(self, image: Tensor, now: Callable[[], float]) -> Spent:
        """How long each gated layer took, and the rest.

        Args:
            image: As above.
            now: A clock that has waited for what was asked of the device.
        """
        values = [image, *self._start[1:]]
        layers, rest = [], 0.0
        for step in self._steps:
            started = now()
            _run(step, values)
            seconds = now() - started
            if step.is_gated:
                layers.append(seconds)
            else:
                rest += seconds
        return Spent(layers_s=tuple(layers), rest_s=rest)


def _run(step: Step, values: list[Any]) -> Any:
    value = step.run(*[values[place] for place in step.reads])
    values[step.writes] = value
    for place in step.frees:
        values[place] = None
    return value


def _freeing(steps: Sequence[Step], kept: set[int]) -> Iterator[Step]:
    """The steps, each freeing what it is the last to read, or what nobody reads."""
    last = {place: index for index, step in enumerate(steps) for place in step.reads}
    for index, step in enumerate(steps):
        over = {place for place in (*step.reads, step.writes) if last.get(place, index) == index}
        yield replace(step, frees=tuple(sorted(over - kept)))


def _reusing(steps: Iterable[Step]) -> Iterator[Step]:
    """The steps, each writing over what it is the last to read, if no other value shares that."""
    unshared: set[int] = set()
    for step in steps:
        is_new = step.is_new
        if isinstance(step.run, Reusing):
            # A sum in place may hand on an input that is no map: it is as unshared as that.
            is_new = unshared.issuperset(step.reads)
            mine = tuple(each in unshared and each in step.frees for each in step.reads)
            step = replace(step, run=step.run.over(mine))  # noqa: PLW2901
        elif not is_new:  # it may give a view of what it reads
            unshared.difference_update(step.reads)
        if is_new:
            unshared.add(step.writes)
        yield step
