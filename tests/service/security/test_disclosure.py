"""Plain callers get coarse p-values and nothing that they have no right to."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.security.disclosure import P_VALUE_EDGES, check_rights, p_value_bucket
from service.security.errors import PermissionDeniedError
from service.security.principal import ANONYMOUS, Principal, Right

ASKED = {Right.ALPHA: "alpha", Right.PATH: "path", Right.EXPLANATION: "layers"}


@pytest.mark.parametrize(
    ("p_value", "edge"),
    [(1e-9, 0.01), (0.01, 0.01), (0.0100001, 0.05), (0.05, 0.05), (0.2, 0.5), (0.6, 1), (1, 1)],
)
def test_a_p_value_is_rounded_up_to_its_buckets_edge(p_value: float, edge: float) -> None:
    assert p_value_bucket(p_value) == edge


def test_what_is_no_number_stays_none() -> None:
    assert math.isnan(p_value_bucket(math.nan))


@given(st.floats(0, 1, exclude_min=True), st.floats(0, 1, exclude_min=True))
def test_buckets_keep_the_order_and_never_promise_too_much(first: float, second: float) -> None:
    low, high = sorted((first, second))
    assert low <= p_value_bucket(low) <= p_value_bucket(high)
    assert p_value_bucket(high) in P_VALUE_EDGES


@pytest.mark.parametrize("right", ASKED)
def test_each_wish_needs_its_own_right_and_no_other(right: Right) -> None:
    wish = {name: name == ASKED[right] for name in ASKED.values()}
    check_rights(Principal(name="a", rights=frozenset({right})), **wish)
    others = Principal(name="b", rights=frozenset(Right) - {right})
    with pytest.raises(PermissionDeniedError, match=f"right '{right}'"):
        check_rights(others, **wish)


def test_who_wishes_nothing_needs_no_right_and_who_is_anonymous_has_all() -> None:
    check_rights(Principal(name="a"), alpha=False, path=False, layers=False)
    check_rights(ANONYMOUS, alpha=True, path=True, layers=True)
