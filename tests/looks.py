"""What every page has to look like: wide and narrow, light and dark."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

__all__ = ["VIEWS", "WIDTHS", "check_looks", "check_picture"]

WIDTHS = pytest.mark.parametrize("width", [1280, 390])
VIEWS = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])


def check_looks(seen: dict[str, Any], *, width: int, dark: bool) -> None:
    """A page fits the window and can be read, by what `Browser.measure` has seen of it."""
    assert (seen["inner"], seen["dark"]) == (width, dark)
    assert seen["scroll"] <= width
    assert seen["wide"] == []  # tables scroll within themselves
    assert seen["outside"] == []
    assert seen["overlapping"] == []
    assert seen["smallest"] >= 9.5  # pixels
    assert seen["text"] >= 15
    assert (_luminance(seen["paper"]) < 0.05) == dark
    assert _contrast(seen["ink"], seen["paper"]) >= 7
    assert _contrast(seen["soft"], seen["paper"]) >= 4.5
    assert min(_contrast(line, seen["paper"]) for line in seen["lines"]) >= 2.5
    assert (seen["requests"], seen["refused"]) == ([], [])


def check_picture(file: Path, *, width: int, dark: bool) -> None:
    """A picture of a page is as wide as the window, light or dark, and not empty."""
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("L"), dtype=np.float64) / 255
    assert pixels.shape[1] == width
    assert (pixels.mean() < 0.5) == dark
    assert len(np.unique(pixels)) > 20


def _luminance(colour: str) -> float:
    """Relative luminance of a colour as CSS computes it, in [0, 1] (WCAG 2)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def _contrast(first: str, second: str) -> float:
    """Contrast of two colours, from 1 to 21 (WCAG 2)."""
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)
