"""How long a batch was in the network, and how long after it, without making either wait."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

__all__ = ["Spent", "Stopwatch"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """Where the time of a batch went, seconds.

    Args:
        network_s: The images' way to the device, their copies, and the network.
        scoring_s: Everything after it: scores, p-values and what rounding may change, the network's
            further runs for unstable gates included, and explanations where they were asked for.
    """

    network_s: float
    scoring_s: float


class Stopwatch:
    """Runs from its making; told once when the network's work was asked for.

    On the CPU that is when it is done. A GPU is only asked: the work goes on while this thread is
    here already. There the marks are events in the device's own queue of work, passed when what was
    asked before is done, and nothing waits for them but `stop`, at whose moment all is done anyway.

    Args:
        device: Where the batch is computed.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._began = self._mark()
        self._seen = self._began

    def network_asked(self) -> None:
        """All that follows is scoring."""
        self._seen = self._mark()

    def stop(self) -> Spent:
        """What was spent until now."""
        done = self._mark()
        return Spent(
            network_s=_seconds(self._began, self._seen), scoring_s=_seconds(self._seen, done)
        )

    def _mark(self) -> float | torch.cuda.Event:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's
        event.record(torch.cuda.current_stream(self._device))
        return event


def _seconds(first: float | torch.cuda.Event, last: float | torch.cuda.Event) -> float:
    if isinstance(first, float) or isinstance(last, float):
        return float(last) - float(first)  # type: ignore[arg-type]  # both are of one kind
    last.synchronize()
    return float(first.elapsed_time(last)) / 1000.0  # of milliseconds
