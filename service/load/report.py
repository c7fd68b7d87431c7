"""What a load met: answers by code, throughput, and how long callers waited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["PERCENTILES", "LoadReport", "Outcome"]

PERCENTILES = (50.0, 90.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one call ended.

    Args:
        due: When it should have been sent, seconds from the start of the measurement.
        sent: When it was.
        ended: When its answer was there.
        code: Name of its gRPC status code; ``NOT_SENT`` where it never left.
        images: Number of its images.
        told_to_retry: Whether it was refused and told when to try again.
    """

    due: float
    sent: float
    ended: float
    code: str
    images: int
    told_to_retry: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadReport:
    """The figures of one measurement.

    Args:
        seconds: How long it was.
        calls: Calls that were due in it.
        codes: Number of them by gRPC status code; ``NOT_SENT`` for those that never left.
        told_to_retry: Number of them that were refused and told, by RetryInfo, when to try again.
        calls_per_s: Calls answered OK per second of it.
        images_per_s: Images of these per second.
        latency_ms: Time from when a call was due to its answer, milliseconds, of those answered
            OK: ``p50``, ``p90``, ``p99``, ``p99.9``, ``max`` and ``mean``; empty where there is
            none. What a call waited before it could be sent is part of it.
        lateness_ms: How late calls were sent, milliseconds, at the same percentiles. Where it is
            not far below the latency, this process was too slow for the load, and the figures are
            its own rather than the server's.
    """

    seconds: float
    calls: int
    codes: dict[str, int]
    told_to_retry: int
    calls_per_s: float
    images_per_s: float
    latency_ms: dict[str, float]
    lateness_ms: dict[str, float]

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], seconds: float) -> LoadReport:
        """The figures of calls.

        Throughput is of the answers within the measurement; all else is of the calls due in it.

        Args:
            outcomes: How each ended, those of the warm-up included: they were due before 0.
            seconds: Length of the measurement.
        """
        due = [each for each in outcomes if 0 <= each.due < seconds]
        good = [each for each in outcomes if each.code == "OK" and 0 <= each.ended < seconds]
        answered = [each.ended - each.due for each in due if each.code == "OK"]
        return cls(
            seconds=seconds,
            calls=len(due),
            codes=dict(Counter(each.code for each in due).most_common()),
            told_to_retry=sum(each.told_to_retry for each in due),
            calls_per_s=len(good) / seconds,
            images_per_s=sum(each.images for each in good) / seconds,
            latency_ms=_milliseconds(answered),
            lateness_ms=_milliseconds([each.sent - each.due for each in due]),
        )

    def to_json(self) -> dict[str, Any]:
        """The figures as plain JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    values = np.asarray(seconds) * 1e3
    found = np.percentile(values, PERCENTILES, method="inverted_cdf")
    shares = {f"p{share:g}": float(value) for share, value in zip(PERCENTILES, found, strict=True)}
    return {**shares, "max": float(values.max()), "mean": float(values.mean())}
