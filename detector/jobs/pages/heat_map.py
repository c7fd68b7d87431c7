"""Heat maps as tables: the figures can be read, copied and spoken, and wide ones scroll."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from detector.jobs.pages.markup import Markup, element

__all__ = ["MOST_CLASSES", "heat_map"]

MOST_CLASSES: Final = 50
"""More rows than this nobody reads; the JSON has all of them."""

_HOT: Final = 66
"""Where the text turns to the other colour, in per cent: both can be read on either side."""


def heat_map(
    title: str,
    rows: Sequence[tuple[str, Sequence[float]]],
    columns: Sequence[str],
) -> Markup:
    """A table whose cells are as strong in colour as their figures are large among its own.

    Args:
        title: What it shows.
        rows: Name of each row and its figures in [0, 1]; a row without any stays empty.
        columns: Name of each column.
    """
    known = [value for _, values in rows for value in values]
    least, most = min(known, default=0.0), max(known, default=0.0)
    head = element(
        "tr",
        element("th", "class", scope="col"),
        *(element("th", element("span", name), scope="col") for name in columns),
    )
    body = [
        element(
            "tr",
            element("th", name, scope="row"),
            *(
                _cell(value, (value - least) / ((most - least) or 1.0), f"{name}, {column}")
                for column, value in zip(columns, values, strict=True)
            ),
        )
        for name, values in rows
        if values
    ]
    shown = element("table", element("thead", head), element("tbody", *body), class_="heat")
    return element(
        "figure",
        element("figcaption", title),
        element("div", shown, class_="scroll", tabindex="0"),
        class_="wide",
    )


def _cell(value: float, heat: float, place: str) -> Markup:
    strength = round(heat * 100)
    return element(
        "td",
        f"{value * 100:.0f}",
        style=f"--v:{strength}%",
        class_="hot" if strength > _HOT else None,
        title=f"{place}: {value * 100:.1f} %",
    )
