"""Keeps a few callers from speaking for all of them."""

from __future__ import annotations

from collections import Counter, deque

__all__ = ["FairShare"]

_WINDOW = 1000


class FairShare:
    """Picks images so that no principal has more than its share of the traffic.

    Of the last thousand images a principal may have `share`, or as much as each would have if all
    that sent one of them shared alike, where that is more: with fewer principals than 1 / share
    nothing is lost as long as they send alike. Who a caller is, and when it calls, decides; what it
    sends does not, so that a test on what is picked stays valid.

    Args:
        share: In (0, 1].

    Raises:
        ValueError: If it is another number.
    """

    def __init__(self, share: float) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share should lie in (0, 1]. Found {share}.")
        self._share = share
        self._sent: deque[tuple[str, bool]] = deque()
        self._senders: Counter[str] = Counter()
        self._picked: Counter[str] = Counter()

    def picks(self, principal: str) -> bool:
        """Whether the image that a principal has just sent is picked.

        Args:
            principal: Who sent it.
        """
        if len(self._sent) == _WINDOW:
            self._forget()
        self._senders[principal] += 1
        share = max(self._share, 1 / len(self._senders))
        picked = self._picked[principal] < share * (len(self._sent) + 1)
        self._picked[principal] += picked
        self._sent.append((principal, picked))
        return picked

    def _forget(self) -> None:
        principal, picked = self._sent.popleft()
        self._senders[principal] -= 1
        self._picked[principal] -= picked
        if not self._senders[principal]:
            del self._senders[principal], self._picked[principal]
