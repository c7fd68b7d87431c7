"""What is remembered of digests, and for how long."""

from __future__ import annotations

import pytest

from service.recent import RecentDigests


def test_the_last_different_digests_are_remembered_and_no_more() -> None:
    recent = RecentDigests(3)
    for digest in (1, 2, 2, 2, 3):
        recent.add(digest)
    assert all(digest in recent for digest in (1, 2, 3))
    recent.add(4)
    assert [digest in recent for digest in (1, 2, 3, 4)] == [False, True, True, True]
    assert len(recent) == 3


def test_a_digest_that_comes_again_does_not_become_younger() -> None:
    recent = RecentDigests(2)
    for digest in (1, 2, 1, 3):
        recent.add(digest)
    assert [digest in recent for digest in (1, 2, 3)] == [False, True, True]


def test_one_that_was_forgotten_is_remembered_anew() -> None:
    recent = RecentDigests(1)
    for digest in (1, 2, 1):
        recent.add(digest)
    assert [digest in recent for digest in (1, 2)] == [True, False]


def test_room_for_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 digest"):
        RecentDigests(0)
