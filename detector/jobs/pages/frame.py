"""The frame of a page: one file that asks nothing of the network."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from detector.jobs.pages.markup import Markup, element

__all__ = ["framed", "tile"]

_STYLE: Final = Path(__file__).with_name("style.css")
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""Even a mistake in here could not load anything."""
_PICTURES: Final = "; img-src data:"


def framed(title: str, *body: str, style: str = "", pictures: bool = False) -> str:
    """A whole HTML document.

    Args:
        title: Its title.
        body: Its elements.
        style: CSS that it needs beside the style that all pages share.
        pictures: Whether it holds pictures, within itself.
    """
    shared = _STYLE.read_text(encoding="utf-8")
    policy = _POLICY + _PICTURES if pictures else _POLICY
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("title", title),
        element("style", Markup(shared + style)),
    ]
    root = element("html", element("head", *head), element("body", *body), lang="en")
    return f"<!DOCTYPE html>\n{root}\n"


def tile(figure: str, meaning: str) -> Markup:
    """A figure that stands out, and what it says."""
    return element("div", element("strong", figure), element("span", meaning))
