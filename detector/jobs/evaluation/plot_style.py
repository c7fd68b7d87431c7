"""What all plots share: colours, sizes, and files that are the same for the same report."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, product
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from detector.storage import atomic_path

__all__ = ["COLOURS", "line_styles", "new_figure", "new_row", "save"]

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart also by those who see few colours.

Reference:
    Okabe and Ito, "Color Universal Design", 2008.
"""

_SETTINGS: Final[dict[Any, Any]] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "svg.hashsalt": "offpath",
    "svg.fonttype": "none",
}
_DOTS_PER_INCH = 150


def line_styles() -> Iterator[tuple[str, str]]:
    """Colours and dashes, no pair twice before all were used."""
    return cycle((colour, dash) for dash, colour in product(("-", "--", ":"), COLOURS))


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure with one pair of axes.

    Args:
        width: In inches.
        height: In inches.
    """
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.add_subplot()


def new_row(width: float, height: float, columns: int) -> tuple[Figure, tuple[Axes, ...]]:
    """An empty figure with pairs of axes beside each other.

    Args:
        width: Of the whole, in inches.
        height: In inches.
        columns: Number of pairs, positive.
    """
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, tuple(figure.add_subplot(1, columns, place + 1) for place in range(columns))


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write a figure as PNG and as SVG, each whole or not at all.

    Args:
        figure: The figure.
        folder: Where to.
        name: Name of the files without their ending.

    Returns:
        The two files.

    Raises:
        StorageError: If a file cannot be written.
    """
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    with mpl.rc_context(_SETTINGS):
        with atomic_path(png) as temporary:
            figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH)
        with atomic_path(svg) as temporary:
            # Without a date, so that a plot changes only with its figures.
            figure.savefig(temporary, format="svg", metadata={"Date": None})
    return png, svg
