r"""Rules over a few gates: a concept is there where enough of them are in their states.

A rule of gates :math:`g_1, ..., g_k`, each with a state to be in, holds where at least m of them
are in theirs: for m = k it says *and*, for m = 1 it says *or*. It has no weights, so that it can be
read aloud.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["GateState", "Rule", "best_single", "grow_rules", "in_words"]

_APART = 0.02
"""Weight of how far the counts lie apart: decides where balanced accuracies are nearly alike, and
leads over plateaus, on which no single gate more would change what the rule says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateState:
    """A gate and the state that speaks for a concept.

    Args:
        gate: Index of the gate among all gates of the network.
        is_open: Whether that state is open.
    """

    gate: int
    is_open: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """Holds for an image where at least so many of its gates are in their states.

    Args:
        states: The gates with their states, in the order in which they were chosen.
        at_least: How many of them, in 1..k.
    """

    states: tuple[GateState, ...]
    at_least: int

    def __post_init__(self) -> None:
        if not 1 <= self.at_least <= len(self.states):
            raise ValueError(
                f"A rule should ask for 1 to {len(self.states)} of its gates. "
                f"Found {self.at_least}."
            )

    def holds(self, bits: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """For which images it holds.

        Args:
            bits: True where a gate is open, bool of shape (N, G).
        """
        gates = [state.gate for state in self.states]
        wanted = np.array([state.is_open for state in self.states])
        holding: NDArray[np.bool_] = (bits[:, gates] == wanted).sum(axis=1) >= self.at_least
        return holding


def in_words(parts: Sequence[str], at_least: int) -> str:
    """A rule in plain words.

    Args:
        parts: What it is made of, each in words.
        at_least: How many of them it asks for, from 1 to all.
    """
    if at_least == len(parts):
        return " and ".join(parts)
    if at_least == 1:
        return " or ".join(parts)
    return f"at least {at_least} of {', '.join(parts)}"


def best_single(bits: NDArray[np.bool_], members: NDArray[np.bool_]) -> Rule:
    """The one gate, with the state, of the greatest balanced accuracy.

    Args:
        bits: True where a gate is open, bool of shape (N, G).
        members: Which images have the concept, bool of shape (N,), some and not all.
    """
    return _Growth(bits, members, np.zeros(bits.shape[1])).grow(apart=0.0)


def grow_rules(
    bits: NDArray[np.bool_],
    members: NDArray[np.bool_],
    *,
    most: int,
    worth: NDArray[np.float64] | None = None,
) -> tuple[Rule, ...]:
    """A rule of one gate, of two, and so on, each with one gate more than the one before.

    Each time, of all gates in both states the one is taken whose rule, with the best m, has the
    greatest balanced accuracy, and the worth of its open gates added to it.

    Args:
        bits: True where a gate is open, bool of shape (N, G).
        members: Which images have the concept, bool of shape (N,), some and not all.
        most: Gates of the largest rule, positive; never more than there are.
        worth: What each gate is worth, beside what it tells, to a rule that wants it open, in
            balanced accuracy, shape (G,); nothing by default.
    """
    growth = _Growth(bits, members, np.zeros(bits.shape[1]) if worth is None else worth)
    return tuple(growth.grow(apart=_APART) for _ in range(min(most, bits.shape[1])))


class _Growth:
    """A rule that grows.

    All that a further gate could change is known from how its states fall together with the counts
    so far, members and others apart: one matrix product judges all gates at once.
    """

    def __init__(
        self, bits: NDArray[np.bool_], members: NDArray[np.bool_], worth: NDArray[np.float64]
    ) -> None:
        self._gates = np.ascontiguousarray(bits.T.astype(np.float32))  # (G, N)
        # Of each side a mean, so that both count the same however many they are.
        self._sides = np.stack([members / members.sum(), ~members / (~members).sum()])  # (2, N)
        self._worth = np.concatenate([worth, np.zeros_like(worth)])  # (2 G,): open, then closed
        self._counts = np.zeros(len(bits), dtype=np.int64)
        self._states: list[GateState] = []

    def grow(self, *, apart: float) -> Rule:
        """The rule with one gate more."""
        shares = self._shares()  # (2 G, 2, k + 1): of each side, how many states are met
        reached = shares[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]  # at least so many
        balanced = (reached[:, 0, 1:] + 1 - reached[:, 1, 1:]) / 2  # (2 G, k)
        merit = balanced.max(axis=1) + apart * _separation(shares) + self._worth
        count = len(self._gates)
        for state in self._states:
            merit[[state.gate, state.gate + count]] = -np.inf
        best = int(merit.argmax())
        state = GateState(gate=best % count, is_open=best < count)
        self._states.append(state)
        self._counts += self._gates[state.gate] == float(state.is_open)
        return Rule(states=tuple(self._states), at_least=1 + int(balanced[best].argmax()))

    def _shares(self) -> NDArray[np.float64]:
        """For each gate open, then for each closed: shares of the counts with it."""
        size = len(self._states) + 1
        cells = np.eye(size)[self._counts] * self._sides[:, :, None]  # (2, N, k)
        flat = cells.transpose(1, 0, 2).reshape(-1, 2 * size)  # (N, 2 k)
        opened = (self._gates @ flat.astype(np.float32)).astype(np.float64)  # (G, 2 k)
        total = flat.sum(axis=0)
        met = np.concatenate([opened, total - opened]).reshape(-1, 2, size)
        shares = np.zeros((len(met), 2, size + 1))
        shares[:, :, 1:] += met
        shares[:, :, :-1] += total.reshape(1, 2, size) - met
        return shares


def _separation(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many standard deviations the mean counts of both sides lie apart, shape (2 G,)."""
    values = np.arange(shares.shape[2])
    means = shares @ values  # (2 G, 2)
    variances = np.maximum(shares @ values**2 - means**2, 0.0)
    distance: NDArray[np.float64] = (means[:, 0] - means[:, 1]) / np.sqrt(
        variances.mean(axis=1) + 0.01
    )
    return distance
