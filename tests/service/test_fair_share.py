"""A few callers do not speak for all, and where there are few nobody is silenced."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from service.fair_share import FairShare


def picked(senders: list[str], share: float) -> Counter[str]:
    fair = FairShare(share)
    return Counter(sender for sender in senders if fair.picks(sender))


@pytest.mark.parametrize("principals", [1, 3, 10, 40])
def test_all_that_principals_who_send_alike_send_is_picked(principals: int) -> None:
    senders = [str(number % principals) for number in range(5000)]
    assert picked(senders, 0.1).total() == 5000


def test_a_principal_that_sends_most_counts_for_its_share_of_the_traffic() -> None:
    rng = np.random.default_rng(0)
    others = [str(number) for number in rng.integers(30, size=6000)]
    senders = ["loud" if rng.random() < 0.6 else other for other in others]
    found = picked(senders, 0.1)
    # As each window of a thousand has at most a tenth; six of them, and what begins.
    assert found["loud"] <= 0.1 * 6000 + 100
    assert found.total() - found["loud"] == len(senders) - senders.count("loud")


def test_of_a_burst_no_more_is_picked_than_the_share_of_a_thousand() -> None:
    quiet = [str(number % 50) for number in range(2000)]
    assert picked([*quiet, *["loud"] * 500], 0.1)["loud"] == 100


def test_who_was_silent_for_a_thousand_images_is_forgotten() -> None:
    fair = FairShare(0.1)
    for number in range(1000):
        fair.picks(str(number % 50))
    # The others have gone: it speaks for all that there is.
    assert sum(fair.picks("alone") for _ in range(3000)) >= 2000


@pytest.mark.parametrize("share", [0.0, 1.1, -1.0, float("nan")])
def test_a_share_is_one(share: float) -> None:
    with pytest.raises(ValueError, match=r"share should lie in \(0, 1\]"):
        FairShare(share)
