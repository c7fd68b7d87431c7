"""Which layers moved, and how far."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detector.drift import LayerShift
from detector.paths import PathLayout

LAYOUT = PathLayout(names=("first", "second"), sizes=(10, 30))
RATES = np.stack([np.full(40, 0.5), np.linspace(0.02, 0.98, 40)]).astype(np.float32)


def seen(rates, *, images=1000, memory=1000, after=0):
    """What was seen of images of both classes with gates that open so often, then as calibrated."""
    rng = np.random.default_rng(0)
    shift = LayerShift(LAYOUT, RATES, memory=memory)
    for number in range(images + after):
        label = int(rng.integers(2))
        chances = rates[label] if number < images else RATES[label]
        shift.observe(rng.random(40) < chances, label)
    return shift


def test_clean_images_leave_what_chance_does():
    assert [seen(RATES).of_layer(i) < 0.4 / math.sqrt(1000) for i in (0, 1)] == [True, True]


def test_the_layer_that_moved_stands_out_by_how_far_it_moved():
    moved = RATES.copy()
    moved[:, 10:25] += 0.2
    (first, far), (second, near) = seen(moved).furthest(2)
    assert (first, second) == ("second", "first")
    # Half of its gates by 0.2 each; chance adds at most 0.4 / sqrt(1000) and may take as much away.
    assert far == pytest.approx(0.1, abs=0.4 / math.sqrt(1000))
    assert near < 0.4 / math.sqrt(1000)
    assert seen(moved).furthest(1) == [(first, far)]


def test_what_has_long_passed_is_forgotten():
    moved = 1 - RATES
    assert seen(moved, memory=100).of_layer(1) > 0.1
    assert seen(moved, memory=100, after=1000).of_layer(1) < 4 * 0.4 / math.sqrt(100)


def test_rates_have_to_be_those_of_the_gates():
    with pytest.raises(ValueError, match="rates of 40 gates"):
        LayerShift(LAYOUT, RATES[:, 1:])
