"""HTML and SVG as text that is escaped once and for all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

__all__ = ["Markup", "details", "element", "join", "legend", "section", "table", "verbatim"]

_VOID: Final = frozenset({"br", "line", "rect", "circle", "polyline", "meta", "path", "img"})


class Markup(str):
    """Text that is markup already: it is not escaped again."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: object) -> Markup:
    """An element with its children.

    Args:
        tag: Its name.
        children: Elements, and text, which is escaped.
        attributes: Their underscores become hyphens, one at the end is dropped (``class_``), and
            those that are None are left out.
    """
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_quoted(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in _VOID and not children:
        return Markup(f"<{tag}{given}/>")
    return Markup(f"<{tag}{given}>{join(children)}</{tag}>")


def join(parts: Iterable[str]) -> Markup:
    """Elements and text one behind the other."""
    return Markup("".join(p if isinstance(p, Markup) else _text(p) for p in parts))


def verbatim(text: str) -> Markup:
    """Text as it is, line by line; it scrolls within itself where it is too wide."""
    return element("pre", Markup(escape(text, quote=False)), tabindex="0")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, class_: str = "") -> Markup:
    """A table that scrolls within itself where it is too wide; the first column names the rows.

    Args:
        head: Name of each column.
        rows: The cells.
        class_: Its class, beside that of all tables.
    """
    columns = element("tr", *(element("th", cell, scope="col") for cell in head))
    lines = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(element("td", cell) for cell in row[1:]),
        )
        for row in rows
    ]
    body = element("table", element("thead", columns), element("tbody", *lines), class_=class_)
    return element("div", body, class_="scroll", tabindex="0")


def section(title: str, *children: str, id_: str | None = None) -> Markup:
    """A part of the page with its heading."""
    return element("section", element("h2", title), *children, id_=id_)


def details(title: str, *children: str) -> Markup:
    """A part of the page that is folded at first."""
    return element("details", element("summary", title), *children)


def legend(entries: Sequence[tuple[str, str]]) -> Markup:
    """What the colours of a chart mean.

    Args:
        entries: Class of each colour and what it stands for.
    """
    return element(
        "ul",
        *(
            element("li", element("span", class_=f"key {colour}", aria_hidden="true"), name)
            for colour, name in entries
        ),
        class_="legend",
    )


def _text(value: str) -> str:
    """Text between elements; a number and its per cent stay on one line."""
    return escape(value, quote=False).replace(" %", "\u00a0%")


def _quoted(value: str) -> str:
    """Text between double quotes, in which single ones may stay as they are."""
    return escape(value, quote=False).replace('"', "&quot;")
