"""The last queries of one principal, and which of them a new one is related to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.campaigns.hashing import CELLS, Query
from service.campaigns.rule import CampaignRule

__all__ = ["QueryWindow"]

_FIRST_SIZE = 16
_ROUNDING = 1e-6
"""So that a share such as 0.07 of 100 gates is 7 of them."""


class QueryWindow:
    """A ring of the last queries, searched exactly.

    All hashes of paths are compared, a thousand in some 15 microseconds, and all else of the few
    that are near. Tables of buckets would save little at this size and nothing during an attack,
    which crowds its own bucket. The ring grows with its queries up to the rule's number: 152 bytes
    a query for 672 gates.

    Args:
        rule: What is related, how many are remembered and for how long.
        words: Length of the path hashes, in words of 64 bits.
        sampled_gates: Gates that they hold.
    """

    def __init__(self, rule: CampaignRule, *, words: int, sampled_gates: int) -> None:
        self._rule = rule
        self._most_gates = int(rule.path_share * sampled_gates + _ROUNDING)
        self._most_change = int(255 * rule.pixel_change * CELLS + _ROUNDING)
        size = min(_FIRST_SIZE, rule.queries)
        # Queries side by side in each row: numpy then compares and sums them at full speed.
        self._paths = np.zeros((words, size), dtype=np.uint64)
        self._thumbnails = np.zeros((CELLS, size), dtype=np.uint8)
        self._digests = np.zeros(size, dtype=np.uint64)
        self._times = np.full(size, -np.inf)
        self._next = 0

    @property
    def nbytes(self) -> int:
        """Memory that it holds, bytes."""
        return (
            self._paths.nbytes + self._thumbnails.nbytes + self._digests.nbytes + self._times.nbytes
        )

    def holds(self, query: Query, now: float) -> bool:
        """Whether the same pixels are remembered.

        Args:
            query: What was asked.
            now: Time of the clock, seconds; never less than before.
        """
        same = self._times[self._digests == np.uint64(query.digest)]
        return bool((same > now - self._rule.window_s).any())

    def related_times(self, query: Query, now: float) -> NDArray[np.float64]:
        """When the related queries came, ascending.

        Args:
            query: What is asked; not related to itself or its duplicates.
            now: Time of the clock, seconds; never less than before.
        """
        near = (_differing(self._paths, query.path) <= self._most_gates).nonzero()[0]
        near = near[self._digests[near] != np.uint64(query.digest)]
        if not len(near):
            return np.empty(0)
        thumbnails, cells = self._thumbnails[:, near], query.thumbnail[:, None]
        changes = np.maximum(thumbnails, cells) - np.minimum(thumbnails, cells)
        related = changes.sum(0, dtype=np.uint16) <= self._most_change
        related &= self._times[near] > now - self._rule.window_s
        return np.sort(self._times[near[related]])

    def add(self, query: Query, now: float) -> None:
        """Remember a query; the oldest one makes room where there is none.

        Args:
            query: What was asked.
            now: Time of the clock, seconds; never less than before.
        """
        if self._next == len(self._times) < self._rule.queries:
            self._grow(min(2 * self._next, self._rule.queries))
        place = self._next % len(self._times)
        self._paths[:, place] = query.path
        self._thumbnails[:, place] = query.thumbnail
        self._digests[place] = query.digest
        self._times[place] = now
        self._next = place + 1

    def _grow(self, size: int) -> None:
        more = size - len(self._times)
        self._paths = np.pad(self._paths, ((0, 0), (0, more)))
        self._thumbnails = np.pad(self._thumbnails, ((0, 0), (0, more)))
        self._digests = np.pad(self._digests, (0, more))
        self._times = np.pad(self._times, (0, more), constant_values=-np.inf)


def _differing(paths: NDArray[np.uint64], path: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """In how many gates hashes, (W, n), differ from another one, (W,): shape (n,)."""
    total: NDArray[np.uint16] = np.bitwise_count(paths ^ path[:, None]).sum(0, dtype=np.uint16)
    return total
