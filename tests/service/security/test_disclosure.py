"""Plain callers get coarse p-values and nothing that they have no right to."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.security.disclosure import P_VALUE_EDGES, check_right, p_value_bucket, told_p_value
from service.security.errors import PermissionDeniedError
from service.security.principal import ANONYMOUS, Principal, Right


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


@pytest.mark.parametrize("right", Right)
def test_a_wish_needs_its_own_right_and_no_other(right: Right) -> None:
    check_right(Principal(name="a", rights=frozenset({right})), right, "wish", asked=True)
    others = Principal(name="b", rights=frozenset(Right) - {right})
    with pytest.raises(PermissionDeniedError, match=f"wish .* right '{right}'"):
        check_right(others, right, "wish", asked=True)


@pytest.mark.parametrize("right", Right)
def test_who_wishes_nothing_needs_no_right_and_who_is_anonymous_has_all(right: Right) -> None:
    check_right(Principal(name="a"), right, "wish", asked=False)
    check_right(ANONYMOUS, right, "wish", asked=True)


def test_the_exact_p_value_is_told_with_the_right_to_the_score_alone() -> None:
    assert told_p_value(0.03, frozenset({Right.SCORE})) == 0.03
    assert told_p_value(0.03, frozenset(Right) - {Right.SCORE}) == 0.05
