"""The places of new scores have the law that the urn says."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from detector.drift import Urn


def test_what_the_urn_says_is_what_all_orders_of_calibration_and_stream_say():
    """Three calibration scores and two new ones, in each of the 120 orders."""
    pairs: Counter[tuple[int, int]] = Counter()
    for order in permutations(range(5)):
        urn = Urn(order[:3], left_out=0, random=np.random.default_rng(0))
        first, second = (urn.bin_of(score, 0.5) for score in order[3:])
        assert first is not None
        assert second is not None
        pairs[first, second] += 1
    urn = Urn([0.0, 1.0, 2.0], left_out=0, random=np.random.default_rng(0))
    for first in range(4):
        assert urn.probabilities[first] == pytest.approx(1 / 4)
        urn.add(first)
        for second in range(4):
            joint = urn.probabilities[second] / 4
            assert pairs[first, second] / 120 == pytest.approx(joint)
        urn.forget()


def test_the_most_suspicious_places_are_left_out():
    urn = Urn([1.0, 2.0, 3.0], left_out=2, random=np.random.default_rng(0))
    assert [urn.bin_of(s, 0.5) for s in (9.0, 2.5, 1.5, 0.5)] == [None, None, 0, 1]
    assert urn.positions.tolist() == [0.25, 0.75]


def test_ties_are_broken_by_lot():
    urn = Urn([1.0, 1.0], left_out=0, random=np.random.default_rng(0))
    low, high = sorted(np.random.default_rng(0).random(2))
    lots = (high + 1e-6, (low + high) / 2, low - 1e-6)
    assert [urn.bin_of(1.0, lot) for lot in lots] == [0, 1, 2]


def test_many_cells_are_joined_into_bins_as_even_as_can_be():
    urn = Urn([float(s) for s in range(350)], left_out=70, random=np.random.default_rng(0))
    assert len(urn.positions) == 20
    assert urn.probabilities == pytest.approx(np.full(20, 1 / 20), abs=1 / 281)
    assert urn.probabilities.sum() == pytest.approx(1)


def test_a_class_without_calibration_images_has_one_bin():
    urn = Urn([], left_out=0, random=np.random.default_rng(0))
    assert urn.probabilities.tolist() == [1.0]
    assert urn.bin_of(3.0, 0.5) == 0


@pytest.mark.parametrize("left_out", [-1, 3])
def test_no_more_can_be_left_out_than_there_is(left_out):
    with pytest.raises(ValueError, match="should be 0 to 2"):
        Urn([1.0, 2.0], left_out=left_out, random=np.random.default_rng(0))
