"""The detector as an attacker knows it: all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detector.attacks.base import attackable
from detector.copies import parse_copy
from detector.decoupling import DecoupledNetwork
from detector.preprocessing import Preprocessing
from detector.scoring.observation import Observation

__all__ = ["Flags", "ScoreOf", "Target", "thresholds"]

ScoreOf = Callable[[Observation], Tensor]
"""Higher is more suspicious: an observation of B images -> float of shape (B,)."""

Flags = Callable[[Tensor, Tensor, float], Tensor]
"""Scores (B,), predicted classes (B,) and a false-alarm budget -> bool of shape (B,).

In each class all scores above some threshold are flagged, and no others;
`detector.conformal.ConformalTable.flags` is one.
"""

_FLOAT_KEYS = 0x7F80_0000
"""The bits of infinity: float32 numbers are ordered as their bits, read as whole numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Network, score and thresholds that an attack has to get past.

    Args:
        network: The decoupled network.
        preprocessing: How images become its input.
        score: The detector's score. Attacks differentiate it where they follow gradients.
        flags: Which scores are flagged at a budget.
        copies: Names of the copies that the score reads, see `detector.copies.parse_copy`.
        surrogate: A smooth stand-in for a score that passes no useful gradient, such as trees on
            bits (`SoftForest`); gradients go through it, verdicts never do.

    Raises:
        InvalidInputError: If there is no such copy.
    """

    network: DecoupledNetwork
    preprocessing: Preprocessing
    score: ScoreOf
    flags: Flags
    copies: tuple[str, ...] = ()
    surrogate: ScoreOf | None = None

    def __post_init__(self) -> None:
        for name in self.copies:
            parse_copy(name)

    @property
    def smooth_score(self) -> ScoreOf:
        """The score that gradients go through."""
        return self.surrogate or self.score

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @contextmanager
    def held_still(self) -> Iterator[None]:
        """Evaluation mode and no gradients of weights for network and scores; all restored."""
        with ExitStack() as stack:
            for part in (self.network, self.score, self.surrogate):
                if isinstance(part, nn.Module):
                    stack.enter_context(attackable(part))
            yield


def thresholds(flags: Flags, alpha: float, classes: int) -> Tensor:
    """The largest score of each predicted class that is not flagged, found by bisection.

    Args:
        flags: Which scores are flagged.
        alpha: False-alarm budget in (0, 1).
        classes: Number of classes, K.

    Returns:
        float32 of shape (K,); infinite in a class that flags nothing, minus infinite in one that
        flags everything. A score is flagged where it is greater.
    """
    predicted = torch.arange(classes)
    # Whole numbers in the order of the floats, so that 32 halvings reach neighbouring floats
    # whatever the unit of the score is.
    low = torch.full((classes,), -_FLOAT_KEYS, dtype=torch.int64)
    high = torch.full((classes,), _FLOAT_KEYS, dtype=torch.int64)
    while bool((high - low > 1).any()):
        middle = torch.div(low + high, 2, rounding_mode="floor")
        flagged = flags(_float_of(middle), predicted, alpha)
        low, high = torch.where(flagged, low, middle), torch.where(flagged, middle, high)
    largest = torch.finfo(torch.float32).max
    found = _float_of(low)
    return torch.where(found >= largest, torch.inf, found)


def _float_of(key: Tensor) -> Tensor:
    """The float32 whose place among all of them is this, int64 -> float32."""
    size = key.abs().to(torch.int32).view(torch.float32)
    return torch.where(key < 0, -size, size)
