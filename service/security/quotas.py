"""Quotas as token buckets: a principal's calls and images."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from service.security.errors import QuotaExceededError
from service.security.principal import Principal, Rate
from service.security.principals import MOST_PRINCIPALS

__all__ = ["Bucket", "Quotas"]


class Bucket:
    """Fills at a rate, up to its burst, and is full at first.

    Who asks for more than the burst is let through where it is full and waits longer afterwards:
    the rate holds in the long run and no request is impossible.

    Args:
        rate: How fast it fills and how much it holds.
        now_s: The time, seconds.
    """

    def __init__(self, rate: Rate, now_s: float) -> None:
        self.rate = rate
        self._level = rate.burst
        self._at_s = now_s

    def missing_s(self, amount: float, now_s: float) -> float:
        """How long until so much can be taken, seconds; 0 for now.

        Args:
            amount: How much.
            now_s: The time, seconds.
        """
        self._level = min(
            self.rate.burst, self._level + self.rate.per_s * max(0.0, now_s - self._at_s)
        )
        self._at_s = now_s
        return max(0.0, min(amount, self.rate.burst) - self._level) / self.rate.per_s

    def take(self, amount: float) -> None:
        """Take so much, after `missing_s` gave 0."""
        self._level -= amount


class Quotas:
    """What each principal has used of its quotas; remembers as many as there can be.

    Args:
        now: Seconds since some fixed moment.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()

    def take_call(self, principal: Principal) -> None:
        """Count a call.

        Raises:
            QuotaExceededError: If the principal has made too many.
        """
        self._take(principal, "calls", principal.calls, 1)

    def take_images(self, principal: Principal, images: int) -> None:
        """Count a call's images.

        Raises:
            QuotaExceededError: If the principal has sent too many.
        """
        self._take(principal, "images", principal.images, images)

    def _take(self, principal: Principal, unit: str, rate: Rate | None, amount: int) -> None:
        if rate is None:
            return
        now_s = self._now()
        bucket = self._bucket((principal.name, unit), rate, now_s)
        missing_s = bucket.missing_s(amount, now_s)
        if missing_s > 0:
            raise QuotaExceededError(
                f"A caller should send no more than {rate.per_s:g} {unit} a second, "
                f"{rate.burst:g} at once. Found more. Try again in {missing_s:.3f} s.",
                retry_after_s=missing_s,
            )
        bucket.take(amount)

    def _bucket(self, key: tuple[str, str], rate: Rate, now_s: float) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None or bucket.rate != rate:  # the file of principals has changed
            bucket = self._buckets[key] = Bucket(rate, now_s)
        self._buckets.move_to_end(key)
        # Principals that are gone leave when room is needed; those there are always fit.
        while len(self._buckets) > 2 * MOST_PRINCIPALS:
            self._buckets.popitem(last=False)
        return bucket
