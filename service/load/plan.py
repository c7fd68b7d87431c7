"""What load is put on a server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from detector.errors import InvalidInputError

__all__ = ["ClosedLoop", "LoadPlan", "OpenLoop"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClosedLoop:
    """Callers who send their next call when the last one is answered.

    A slow server is sent less, and so the times of a closed loop flatter it: they leave out the
    calls that would have come meanwhile. It measures throughput.

    Args:
        callers: How many there are, at least 1.

    Raises:
        InvalidInputError: If there is none.
    """

    callers: int

    def __post_init__(self) -> None:
        if self.callers < 1:
            raise InvalidInputError(
                f"callers should be at least 1. Found {self.callers}.", field="callers"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenLoop:
    """Calls that come at a rate, whatever became of those before them.

    Args:
        rate: Calls per second, positive.
        poisson: Whether they come at random moments, as those of many callers do; otherwise at
            even ones.
        seed: Of the random moments.
        most_in_flight: Calls that may be on their way at once. One that comes when there are so
            many is not sent, and is counted as such: no generator holds an endless number.

    Raises:
        InvalidInputError: If a field is out of range.

    Reference:
        Schroeder et al., "Open Versus Closed: A Cautionary Tale", NSDI 2006.
    """

    rate: float
    poisson: bool = True
    seed: int = 0
    most_in_flight: int = 10_000

    def __post_init__(self) -> None:
        if not 0 < self.rate < float("inf"):
            raise InvalidInputError(
                f"rate should be positive and finite. Found {self.rate:g}.", field="rate"
            )
        if self.most_in_flight < 1:
            raise InvalidInputError(
                f"most_in_flight should be at least 1. Found {self.most_in_flight}.",
                field="most_in_flight",
            )

    def moments(self) -> Iterator[float]:
        """When each call is due, seconds from the start, without end."""
        step = 1 / self.rate
        due = 0.0
        rng = np.random.default_rng(self.seed)
        while True:
            for gap in rng.exponential(step, 1024).tolist() if self.poisson else [step] * 1024:
                due += gap
                yield due


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadPlan:
    """One measurement.

    Args:
        load: Who calls, and when.
        seconds: How long is measured, positive.
        warm_up_s: How long calls are sent before that and left out.
        timeout_s: Deadline of each call, seconds, positive.

    Raises:
        InvalidInputError: If a field is out of range.
    """

    load: ClosedLoop | OpenLoop
    seconds: float = 10.0
    warm_up_s: float = 1.0
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("seconds", "timeout_s"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise InvalidInputError(
                    f"{name} should be positive and finite. Found {value:g}.", field=name
                )
        if not 0 <= self.warm_up_s < float("inf"):
            raise InvalidInputError(
                f"warm_up_s should not be negative. Found {self.warm_up_s:g}.", field="warm_up_s"
            )
