"""A caller with a name: its rights and its quotas."""

from __future__ import annotations

import math
import re
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

from detector.errors import InvalidInputError

__all__ = [
    "ALL_RIGHTS",
    "ANONYMOUS",
    "Principal",
    "Rate",
    "Right",
    "current_principal",
    "set_current_principal",
]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Right(StrEnum):
    """What a caller may be told or decide beyond prediction, verdict and the p-value's bucket.

    Each but the last helps who searches for images that pass.
    """

    SCORE = "score"
    """Score, probability, the exact p-value, unstable gates, and distances in an explanation."""
    PATH = "path"
    """The path: bits, logits and activations of all gates; and the gates of an explanation."""
    EXPLANATION = "explanation"
    """The layers that weighed most, the class that the path fits instead and its clean neighbours;
    with `SCORE` the verdict's reason, which names the p-value."""
    ALPHA = "alpha"
    """A budget of one's own. Verdicts under many budgets tell the p-value as finely as wanted."""
    ADMIN = "admin"
    """The admin service: which bundle answers everybody."""


ALL_RIGHTS = frozenset(Right)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """So much a second in the long run, and so much at once.

    Args:
        per_s: Long-run rate, above 0, 1/s.
        burst: How much may come at once after a pause, at least 1.
    """

    per_s: float
    burst: float

    def __post_init__(self) -> None:
        if not (self.per_s > 0 and math.isfinite(self.per_s)):
            raise InvalidInputError(
                f"A rate should be a number above 0. Found {self.per_s}. Leave it out for no limit."
            )
        if not (self.burst >= 1 and math.isfinite(self.burst)):
            raise InvalidInputError(
                f"A burst should be a number, at least 1. Found {self.burst}. "
                "Leave it out for what the rate gives in a second."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """A caller that the server knows.

    Args:
        name: Its name in logs: 1 to 64 letters, digits, dashes and underscores.
        rights: What it may be told or decide.
        calls: Quota of calls; None for no limit.
        images: Quota of images; None for no limit.
    """

    name: str
    rights: frozenset[Right] = frozenset()
    calls: Rate | None = None
    images: Rate | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidInputError(
                "A principal's name should be 1 to 64 letters, digits, dashes and underscores. "
                f"Found {self.name!r}. Choose another one."
            )


ANONYMOUS = Principal(name="anonymous", rights=ALL_RIGHTS)
"""Everybody, where no principals are set."""

_current: ContextVar[Principal] = ContextVar("principal", default=ANONYMOUS)


def current_principal() -> Principal:
    """Whose call is being answered; `ANONYMOUS` outside of one."""
    return _current.get()


def set_current_principal(principal: Principal) -> None:
    """Say whose call this task answers from now on."""
    _current.set(principal)
