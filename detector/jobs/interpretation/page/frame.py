"""The frame of the pages of an interpretation."""

from __future__ import annotations

from typing import Final

from detector.jobs.pages import frame

__all__ = ["framed"]

_STYLE: Final = """
:root { --c8: #b0006d; --c9: #3d5a80; }
@media (prefers-color-scheme: dark) { :root { --c8: #ff7cc8; --c9: #9db8d9; } }
.c8 { color: var(--c8); } .c9 { color: var(--c9); }
.maps { display: grid; gap: 1rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); }
.maps figure { margin: 0; }
.points { stroke: currentColor; stroke-width: 7; stroke-linecap: round; opacity: .75; }
.branch { fill: none; stroke: var(--text); stroke-width: 1.2; }
.picture { width: 8rem; image-rendering: pixelated; border-radius: .3rem; display: block; }
.near { display: flex; flex-wrap: wrap; gap: .6rem; }
.near figure { margin: 0; width: 5.5rem; } .near figcaption { font-weight: 400; font-size: .8rem; }
.near .picture { width: 4.5rem; }
"""
"""What these pages need beside the style that all pages share."""


def framed(title: str, *body: str) -> str:
    """A whole HTML document.

    Args:
        title: Its title.
        body: Its elements.
    """
    return frame.framed(title, *body, style=_STYLE, pictures=True)
