"""A plane to draw on: two scales with their axes, in SVG whose colours the page's style gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from detector.jobs.pages.markup import Markup, element

__all__ = ["Axis", "Plane", "drawing"]

WIDTH: Final = 360.0
"""Width of every drawing in its own units: one pixel each on a telephone, more on a screen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One axis.

    Args:
        low: Value at its beginning.
        high: Value at its end.
        begin: Where it begins, in units of the drawing.
        end: Where it ends.
        ticks: Values that are marked, each with its text.
        title: What it measures.
        logarithmic: Whether equal ways are equal ratios; values are positive then.
    """

    low: float
    high: float
    begin: float
    end: float
    ticks: Sequence[tuple[float, str]]
    title: str
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Where a value lies; beyond the ends it is drawn at the end."""
        inside = min(max(value, self.low), self.high)
        low, high, inside = (
            (math.log(each) for each in (self.low, self.high, inside))
            if self.logarithmic
            else (self.low, self.high, inside)
        )
        share = (inside - low) / (high - low)
        return round(self.begin + share * (self.end - self.begin), 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plane:
    """Two axes.

    Args:
        x: The one to the right.
        y: The one upwards; its beginning is the lower end.
    """

    x: Axis
    y: Axis

    def axes(self) -> list[Markup]:
        """Grid, ticks and titles."""
        bottom, top = self.y.begin, self.y.end
        drawn = []
        for value, text in self.x.ticks:
            at = self.x(value)
            drawn += [
                element("line", x1=at, x2=at, y1=bottom, y2=top, class_="grid"),
                element("text", text, x=at, y=bottom + 15, text_anchor="middle"),
            ]
        for value, text in self.y.ticks:
            at = self.y(value)
            drawn += [
                element("line", x1=self.x.begin, x2=self.x.end, y1=at, y2=at, class_="grid"),
                element("text", text, x=self.x.begin - 5, y=at + 3.5, text_anchor="end"),
            ]
        middle = (self.x.begin + self.x.end) / 2
        return [
            *drawn,
            element("text", self.x.title, x=middle, y=bottom + 30, class_="axis"),
            element("text", self.y.title, x=2, y=top - 9),
        ]

    def line(self, points: Sequence[tuple[float, float]], class_: str, title: str) -> Markup:
        """A line through some points, which tells its name where one points at it."""
        places = " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points)
        shown = element("polyline", element("title", title), points=places, class_=f"line {class_}")
        return element("g", shown)

    def estimate(
        self, at: float, value: float, interval: tuple[float, float], class_: str, title: str
    ) -> list[Markup]:
        """A dot with its interval, which tells its figure where one points at it.

        Args:
            at: Where it stands across, in the units of the drawing.
            value: The figure, on the axis upwards.
            interval: Its low and high end, there too.
            class_: Class of its colour.
            title: What is told.
        """
        low, high = interval
        ends = {"y1": self.y(low), "y2": self.y(high)}
        dot = element("title", title)
        return [
            element("line", x1=at, x2=at, **ends, class_=f"line {class_}"),
            element("circle", dot, cx=at, cy=self.y(value), r=3, class_=f"dot {class_}"),
        ]

    def level(self, value: float, class_: str = "mark") -> Markup:
        """A line across at a value of y."""
        at = self.y(value)
        return element("line", x1=self.x.begin, x2=self.x.end, y1=at, y2=at, class_=class_)


def drawing(height: float, label: str, *children: str) -> Markup:
    """A picture as wide as its place, told in words to those who cannot see it.

    Args:
        height: Its height, in the units of `WIDTH`.
        label: What it shows.
        children: What is drawn.
    """
    return element(
        "svg",
        element("title", label),
        *children,
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        role="img",
        aria_label=label,
    )
