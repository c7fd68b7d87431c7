"""What a caller is told: all of it with the rights, or a verdict and a coarse p-value."""

from __future__ import annotations

import math

from service.security.errors import PermissionDeniedError
from service.security.principal import Principal, Right

__all__ = ["P_VALUE_EDGES", "check_rights", "p_value_bucket"]

P_VALUE_EDGES = (0.01, 0.05, 0.1, 0.5, 1.0)
"""Upper edges of the buckets. Few, as each edge is a line along which an attacker can climb."""

_ASKED_BY = {
    Right.ALPHA: "alpha",
    Right.PATH: "include_path",
    Right.EXPLANATION: "include_layers",
}


def p_value_bucket(p_value: float) -> float:
    """The least edge that is not below a p-value; NaN for NaN.

    Args:
        p_value: In (0, 1], or NaN.
    """
    if math.isnan(p_value):
        return p_value
    return next((edge for edge in P_VALUE_EDGES if p_value <= edge), P_VALUE_EDGES[-1])


def check_rights(principal: Principal, *, alpha: bool, path: bool, layers: bool) -> None:
    """Whether a caller may have what a request asks for.

    Args:
        principal: Who asks.
        alpha: Whether for a budget of its own.
        path: Whether for the path.
        layers: Whether for the layers' weights.

    Raises:
        PermissionDeniedError: If a right is missing.
    """
    for right, asked in ((Right.ALPHA, alpha), (Right.PATH, path), (Right.EXPLANATION, layers)):
        if asked and right not in principal.rights:
            raise PermissionDeniedError(
                f"{_ASKED_BY[right]} should be asked for with the right '{right}'. "
                "Found this caller without it. Leave it out, or ask who runs the server."
            )
