"""Gate states and path maps, counted by hand."""

from __future__ import annotations

import numpy as np

from detector.jobs.calibration_report.paths import layer_gates, path_maps
from detector.paths import PathLayout

LAYOUT = PathLayout(names=("first", "second"), sizes=(3, 2))
BITS = np.array(
    [
        [1, 0, 1, 1, 0],
        [1, 0, 0, 1, 0],
        [1, 0, 1, 0, 0],
        [1, 0, 0, 0, 0],
    ],
    dtype=np.bool_,
)


def test_gates_are_open_or_closed_for_all_images_or_depend_on_them() -> None:
    first, second = layer_gates(BITS, LAYOUT)
    assert (first.name, first.always_open, first.always_closed, first.input_dependent) == (
        "first",
        1,
        1,
        1,
    )
    assert first.open_share == 0.5  # 6 of 12
    assert (second.always_open, second.always_closed, second.input_dependent) == (0, 1, 1)
    assert second.open_share == 0.25


def test_classes_differ_where_their_gates_do() -> None:
    maps = path_maps(BITS, np.array([0, 0, 2, 2]), LAYOUT, 3)
    assert maps.images == (2, 0, 2)
    # In the first layer both classes open 1 + 0 + 1/2 of 3 gates; in the second 1 and 0 of 2.
    assert maps.open_shares == ((0.5, 0.5), (), (0.5, 0.0))
    # Their mean is 1/2 for the first gate of the second layer: each lies half a gate of two away.
    assert maps.distances == ((0.0, 0.25), (), (0.0, 0.25))
