"""The window finds exactly what comparing everything with everything finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.campaigns import CampaignRule, Query, QueryWindow
from service.campaigns.hashing import CELLS

WORDS = 2
GATES = 100
MOST_GATES = 6
MOST_CHANGE = 4


def rule(**changes):
    fields = {
        "related": 1,
        "queries": 40,
        "window_s": 10.0,
        "path_share": MOST_GATES / GATES,
        "pixel_change": MOST_CHANGE / 255,
    }
    return CampaignRule(**{**fields, **changes})


def window(chosen):
    return QueryWindow(chosen, words=WORDS, sampled_gates=GATES)


def query(*, open_gates=(), grey=100, digest=0):
    bits = np.zeros(WORDS * 64, dtype=np.uint8)
    bits[list(open_gates)] = 1
    return Query(
        path=np.packbits(bits).view(np.uint64),
        thumbnail=np.full(CELLS, grey, dtype=np.uint8),
        digest=digest,
    )


@st.composite
def traffic(draw):
    """Queries and their times; many are just related to each other, or just not."""
    count = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    step_s = draw(st.sampled_from([0.0, 0.1, 1.0]))
    queries = [
        query(
            open_gates=rng.choice(GATES, rng.integers(0, 6), replace=False),
            grey=int(rng.integers(98, 108)),
            digest=int(rng.integers(0, 30)),
        )
        for _ in range(count)
    ]
    return [(i * step_s, each) for i, each in enumerate(queries)]


def related_by_definition(new, old):
    bits = np.unpackbits(new.path.view(np.uint8)) != np.unpackbits(old.path.view(np.uint8))
    change = np.abs(new.thumbnail.astype(int) - old.thumbnail.astype(int)).mean()
    return bits.sum() <= MOST_GATES and change <= MOST_CHANGE and new.digest != old.digest


@settings(max_examples=60)
@given(traffic(), st.sampled_from([2, 15, 16, 17, 40]))
def test_the_window_finds_what_comparing_with_each_remembered_query_finds(sent, most):
    chosen = rule(queries=most)
    tested, remembered = window(chosen), []
    for now, new in sent:
        known = [(t, q) for t, q in remembered[-most:] if t > now - chosen.window_s]
        expected = [t for t, q in known if related_by_definition(new, q)]
        assert tested.related_times(new, now).tolist() == expected
        held = tested.holds(new, now)
        assert held == any(q.digest == new.digest for _, q in known)
        if not held:
            tested.add(new, now)
            remembered.append((now, new))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"open_gates": range(MOST_GATES)}, 1),
        ({"open_gates": range(MOST_GATES + 1)}, 0),
        ({"grey": 100 + MOST_CHANGE}, 1),
        ({"grey": 100 - MOST_CHANGE}, 1),
        ({"grey": 100 + MOST_CHANGE + 1}, 0),
        ({"digest": 0}, 0),
    ],
)
def test_path_pixels_and_digest_each_decide_at_their_bound(changes, expected):
    tested = window(rule())
    tested.add(query(digest=0), 0.0)
    new = query(**{"digest": 1, **changes})
    assert len(tested.related_times(new, 0.0)) == expected


def test_a_query_is_forgotten_once_the_time_of_the_window_is_over():
    tested = window(rule(window_s=10.0))
    tested.add(query(digest=1), 0.0)
    for now, remembered in ((9.999, True), (10.0, False)):
        assert len(tested.related_times(query(digest=2), now)) == remembered
        assert tested.holds(query(digest=1), now) is remembered


def test_memory_is_bounded_by_the_number_of_queries_whatever_is_sent():
    tested = window(rule(queries=100))
    for i in range(1000):
        tested.add(query(digest=i), float(i))
    assert tested.nbytes == 100 * (WORDS * 8 + CELLS + 8 + 8)


def test_a_principal_with_few_queries_takes_little_memory():
    tested = window(rule(queries=1000))
    for i in range(10):
        tested.add(query(digest=i), 0.0)
    assert tested.nbytes < 20 * (WORDS * 8 + CELLS + 8 + 8)


@pytest.mark.parametrize(
    "changes",
    [
        {"related": 0},
        {"related": 40},
        {"window_s": 0.0},
        {"window_s": float("inf")},
        {"path_share": -0.1},
        {"pixel_change": 1.1},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(changes):
    with pytest.raises(ValueError, match="should"):
        rule(**changes)
