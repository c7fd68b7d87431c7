"""Who runs a campaign: one window for each principal, and a bound on their number."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.campaigns.hashing import QueryHasher
from service.campaigns.rule import CampaignRule
from service.campaigns.window import QueryWindow
from service.clock import Clock

__all__ = ["CampaignWatch", "Sighting"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """What one query looks like among those of its principal.

    Args:
        related: Number of earlier related queries in the window.
        belongs: Whether they are enough for a campaign.
        begins: Whether a campaign begins with it: it belongs to one, and none was active.
        retry_after_s: When it will not belong any more if nothing related comes, seconds from now;
            0 where it does not belong.
        digest: The same for the same pixels only, see `CampaignWatch.digest`.
    """

    related: int
    belongs: bool
    begins: bool
    retry_after_s: float
    digest: int


@dataclass(kw_only=True, slots=True)
class _Principal:
    window: QueryWindow
    active_until: float


class CampaignWatch:
    """Looks at each query beside the earlier ones of its principal; for one thread at a time.

    A campaign of a principal is active from its first query that belongs to one until none has
    come for the rule's time.

    Args:
        rule: What a campaign is.
        hasher: Turns images and paths into queries.
        most_principals: Principals that are remembered, at least 1; who has been silent longest
            is forgotten.
        clock: Where the time comes from.
    """

    def __init__(
        self, rule: CampaignRule, *, hasher: QueryHasher, most_principals: int, clock: Clock
    ) -> None:
        if most_principals < 1:
            raise ValueError(
                f"There should be room for at least 1 principal. Found {most_principals}."
            )
        self._rule = rule
        self._hasher = hasher
        self._most_principals = most_principals
        self._clock = clock
        self._principals: OrderedDict[str, _Principal] = OrderedDict()

    @property
    def principals(self) -> int:
        """Number of principals that are remembered."""
        return len(self._principals)

    @property
    def nbytes(self) -> int:
        """Memory of all windows, bytes."""
        return sum(each.window.nbytes for each in self._principals.values())

    def active(self) -> int:
        """Number of principals with an active campaign; may be asked from another thread."""
        now = self._clock.now()
        return sum(each.active_until > now for each in tuple(self._principals.values()))

    def see(self, principal: str, bits: NDArray[np.bool_], pixels: NDArray[np.uint8]) -> Sighting:
        """Remember an image that a principal asked about, unless its very pixels are remembered.

        Args:
            principal: Who asked.
            bits: The image's path, True where a gate is open, shape (G,).
            pixels: The image at the network's input size, shape (3, H, W).
        """
        now = self._clock.now()
        query = self._hasher(bits, pixels)
        record = self._record(principal)
        times = record.window.related_times(query, now)
        if not record.window.holds(query, now):
            record.window.add(query, now)
        belongs = len(times) >= self._rule.related
        if not belongs:
            return Sighting(
                related=len(times),
                belongs=False,
                begins=False,
                retry_after_s=0.0,
                digest=query.digest,
            )
        begins = record.active_until <= now
        record.active_until = now + self._rule.window_s
        # It belongs as long as so many are remembered: until the first of the last ones is not.
        leaves = float(times[-self._rule.related]) + self._rule.window_s
        return Sighting(
            related=len(times),
            belongs=True,
            begins=begins,
            retry_after_s=leaves - now,
            digest=query.digest,
        )

    def digest(self, pixels: NDArray[np.uint8]) -> int:
        """A number of 64 bits that nobody outside can foresee, the same for the same pixels only.

        Args:
            pixels: The image at the network's input size, shape (3, H, W).
        """
        return self._hasher.digest(pixels)

    def _record(self, principal: str) -> _Principal:
        record = self._principals.get(principal)
        if record is None:
            window = QueryWindow(
                self._rule,
                words=self._hasher.words,
                sampled_gates=self._hasher.sampled_gates,
            )
            record = self._principals[principal] = _Principal(window=window, active_until=-np.inf)
            if len(self._principals) > self._most_principals:
                self._principals.popitem(last=False)
        self._principals.move_to_end(principal)
        return record
