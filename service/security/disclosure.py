"""What a caller is told: all of it with the rights, or a verdict and a coarse p-value."""

from __future__ import annotations

import math
from collections.abc import Set as AbstractSet

from service.security.errors import PermissionDeniedError
from service.security.principal import Principal, Right

__all__ = ["P_VALUE_EDGES", "check_right", "p_value_bucket", "told_p_value"]

P_VALUE_EDGES = (0.01, 0.05, 0.1, 0.5, 1.0)
"""Upper edges of the buckets. Few, as each edge is a line along which an attacker can climb."""


def told_p_value(p_value: float, rights: AbstractSet[Right]) -> float:
    """The p-value that a caller gets: exact with the right `Right.SCORE`, or its bucket.

    Args:
        p_value: In (0, 1], or NaN.
        rights: The caller's.
    """
    return p_value if Right.SCORE in rights else p_value_bucket(p_value)


def p_value_bucket(p_value: float) -> float:
    """The least edge that is not below a p-value; NaN for NaN.

    Args:
        p_value: In (0, 1], or NaN.
    """
    if math.isnan(p_value):
        return p_value
    return next((edge for edge in P_VALUE_EDGES if p_value <= edge), P_VALUE_EDGES[-1])


def check_right(principal: Principal, right: Right, wish: str, *, asked: bool) -> None:
    """Whether a caller may have what it asks for.

    Args:
        principal: Who asks.
        right: What that takes.
        wish: What it is, in the caller's words: the name of a field.
        asked: Whether it is asked for at all.

    Raises:
        PermissionDeniedError: If it is missing.
    """
    if asked and right not in principal.rights:
        raise PermissionDeniedError(
            f"{wish} should be asked for with the right '{right}'. "
            "Found this caller without it. Leave it out, or ask who runs the server."
        )
