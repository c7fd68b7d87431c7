"""The charts of a sweep: what changes as fewer multiplications are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from detector.jobs.calibration_report.page.charts import colour
from detector.jobs.evaluation.estimates import Estimate
from detector.jobs.pages.markup import Markup, element, legend
from detector.jobs.pages.plane import WIDTH, Axis, Plane, drawing
from detector.jobs.sparsity_sweep.curves import Curve, spaced_names
from detector.jobs.sparsity_sweep.report import SweepReport

__all__ = ["kept_chart"]

_BEGIN: Final = 52.0
_END: Final = WIDTH - 18
_BOTTOM: Final = 206.0
_TOP: Final = 22.0
_APART: Final = 3.0
_LABEL_WIDTH: Final = 30.0
_MOST_TICKS: Final = 6
_ROOM: Final = 0.6
"""For names at the foot of a chart, below and left of its points, in steps of its axes."""


def kept_chart(
    report: SweepReport,
    curves: Sequence[Curve],
    *,
    title: str,
    y_title: str,
    text: Callable[[Estimate], str],
    tick: Callable[[float], str],
    mark: float | None = None,
    mark_text: str = "",
) -> Markup:
    """Figures of networks over the share of multiplications that they keep.

    Args:
        report: The sweep, for the names of its networks.
        curves: The curves, each with at least one point.
        title: What the chart shows.
        y_title: What is measured.
        text: A figure in words.
        tick: A value of the axis upwards in words.
        mark: A value that a line is drawn at.
        mark_text: What that line means.
    """
    points = [point for each in curves for point in each.points]
    values = [end for _, figure in points for end in (figure.low, figure.high)]
    plane = Plane(
        x=_axis([kept for kept, _ in points], _BEGIN, _END, "multiplications kept", _per_cent),
        y=_axis(values if mark is None else [*values, mark], _BOTTOM, _TOP, y_title, tick),
    )
    drawn = [*plane.axes(), *_names(plane, report)]
    if mark is not None:
        drawn.append(plane.level(mark, "budget"))
    for place, each in enumerate(curves):
        # A little apart, so that intervals do not hide each other.
        drawn += _curve(plane, each, place, _APART * (place - (len(curves) - 1) / 2), text)
    entries = [(colour(place), each.name) for place, each in enumerate(curves)]
    if mark is not None:
        entries.append(("budget-key", mark_text))
    return element(
        "figure",
        element("figcaption", title),
        drawing(_BOTTOM + 38, title, *drawn),
        legend(entries),
    )


def _curve(
    plane: Plane, curve: Curve, place: int, apart: float, text: Callable[[Estimate], str]
) -> list[Markup]:
    shown = colour(place)
    path = " ".join(
        f"{plane.x(kept) + apart:.1f},{plane.y(figure.value)}" for kept, figure in curve.points
    )
    drawn = [element("polyline", element("title", curve.name), points=path, class_=f"line {shown}")]
    for kept, figure in curve.points:
        at = round(plane.x(kept) + apart, 1)
        told = f"{curve.name}, {_per_cent(kept)} kept: {text(figure)}"
        drawn += plane.estimate(at, figure.value, (figure.low, figure.high), shown, told)
    return drawn


def _names(plane: Plane, report: SweepReport) -> list[Markup]:
    """What the networks are called, at the foot of the chart, where there is room for it."""
    x = plane.x
    apart = _LABEL_WIDTH * (x.high - x.low) / (x.end - x.begin)
    return [
        element("text", name, x=x(kept), y=_BOTTOM - 5, text_anchor="middle")
        for kept, name in spaced_names(report, apart)
    ]


def _axis(
    values: Sequence[float],
    begin: float,
    end: float,
    title: str,
    text: Callable[[float], str],
) -> Axis:
    """An axis from a round value below all, so that names have room, to one above them."""
    step = _step(max(values) - min(values))
    first, last = math.floor(min(values) / step - _ROOM), math.ceil(max(values) / step)
    if first == last:
        first, last = first - 1, last + 1
    ticks = [(place * step, text(place * step)) for place in range(first, last + 1)]
    return Axis(low=first * step, high=last * step, begin=begin, end=end, ticks=ticks, title=title)


def _step(extent: float) -> float:
    """A round step that gives few parts."""
    for exponent in range(-4, 4):
        for digit in (1, 2, 5):
            step = float(digit * 10.0**exponent)
            if extent / step < _MOST_TICKS:
                return step
    return extent


def _per_cent(share: float) -> str:
    return f"{share * 100:.3g} %"
