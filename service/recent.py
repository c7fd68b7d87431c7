"""A bounded memory of what came before."""

from __future__ import annotations

from collections import deque

__all__ = ["RecentDigests"]


class RecentDigests:
    """The last different digests that were remembered; some 150 bytes each.

    Args:
        most: How many, at least 1; the oldest makes room where there is none.

    Raises:
        ValueError: If it is less.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"There should be room for at least 1 digest. Found {most}.")
        self._most = most
        self._digests: set[int] = set()
        self._order: deque[int] = deque()

    def __contains__(self, digest: int) -> bool:
        return digest in self._digests

    def __len__(self) -> int:
        return len(self._order)

    def add(self, digest: int) -> None:
        """Remember a digest; one that is remembered does not become younger.

        Args:
            digest: A number of 64 bits.
        """
        if digest in self._digests:
            return
        if len(self._order) == self._most:
            self._digests.remove(self._order.popleft())
        self._digests.add(digest)
        self._order.append(digest)
