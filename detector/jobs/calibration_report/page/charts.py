"""The charts of a calibration report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from detector.jobs.calibration_report.page.markup import Markup, element, legend
from detector.jobs.calibration_report.page.plane import WIDTH, Axis, Plane, drawing
from detector.jobs.calibration_report.sections import LayerGates
from detector.jobs.evaluation.estimates import Estimate, Share
from detector.jobs.evaluation.figures import ScoreFigures
from detector.jobs.evaluation.markdown import share_text

__all__ = ["Series", "alarm_chart", "colour", "curve_chart", "gate_chart", "roc_chart"]

_COLOURS: Final = 8
_PER_CENT: Final = ((0.0, "0 %"), (0.25, "25 %"), (0.5, "50 %"), (0.75, "75 %"), (1.0, "100 %"))
_LEFT: Final = 40.0
_LABELS: Final = 96.0
_LONGEST: Final = 15


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """A curve with intervals.

    Args:
        name: What it shows.
        points: Each place, positive, with its figure.
    """

    name: str
    points: tuple[tuple[float, Estimate], ...]


def colour(place: int) -> str:
    """Class of the colour, and of the dashes, of a line by its place."""
    dashes = f" d{place // _COLOURS}" if place >= _COLOURS else ""
    return f"c{place % _COLOURS}{dashes}"


def roc_chart(score: ScoreFigures, grid: Sequence[float]) -> Markup:
    """Share of attacks found by the share of clean images flagged.

    Args:
        score: Figures of one level.
        grid: False-alarm rates at which its curves are kept.
    """
    plane = Plane(
        x=Axis(
            low=1e-3,
            high=1,
            begin=_LEFT,
            end=WIDTH - 14,
            ticks=((0.001, "0.1 %"), (0.01, "1 %"), (0.1, "10 %"), (1.0, "100 %")),
            title="clean images flagged",
            logarithmic=True,
        ),
        y=_share_axis(1.0, "attacked images found"),
    )
    seen = [(rate, place) for place, rate in enumerate(grid) if rate >= 1e-3]
    lines, entries = [plane.line([(rate, rate) for rate, _ in seen], "chance", "chance")], []
    for place, attack in enumerate(a for a in score.attacks if a.detection is not None):
        if attack.detection is not None:
            points = [(rate, attack.detection.roc[at]) for rate, at in seen]
            lines.append(plane.line(points, colour(place), attack.attack))
            entries.append((colour(place), attack.attack))
    label = f"ROC curves of the level {score.name} for {len(entries)} attacks"
    return _figure(
        "ROC curves",
        drawing(236, label, *plane.axes(), *lines),
        legend([*entries, ("chance", "chance")]),
    )


def alarm_chart(rows: Sequence[tuple[str, Share | None]], budget: float, title: str) -> Markup:
    """False alarms of each class with their intervals, and the budget.

    Args:
        rows: Name of each class and its share; None without images.
        budget: Share that may be flagged, in (0, 1).
        title: What the chart shows.
    """
    known = [share.high for _, share in rows if share is not None]
    high = max([budget * 1.4, *known])
    step = _step(high)
    bottom = 22.0 + 15 * len(rows)
    ticks = [(step * i, f"{step * i * 100:g} %") for i in range(int(high / step) + 1)]
    x = Axis(
        low=0.0, high=high, begin=_LABELS, end=WIDTH - 14, ticks=ticks, title="clean images flagged"
    )
    y = Axis(low=0.0, high=1.0, begin=bottom, end=14.0, ticks=(), title="")
    at = x(budget)
    drawn = [
        *Plane(x=x, y=y).axes(),
        element("line", x1=at, x2=at, y1=14, y2=bottom, class_="budget"),
        element("text", f"budget {budget * 100:g} %", x=at, y=9, text_anchor="middle"),
    ]
    for place, (name, share) in enumerate(rows):
        middle = 26.0 + 15 * place
        drawn.append(_name(name, middle))
        if share is not None:
            drawn.append(_interval(x, middle, share, f"{name}: {share_text(share)}"))
    return _figure(title, drawing(bottom + 34, title, *drawn))


def curve_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_title: str,
    y_title: str,
    low: float = 0.0,
    high: float = 1.0,
    mark: float | None = None,
) -> Markup:
    """Curves over numbers of images.

    Args:
        series: The curves, each with at least one point.
        title: What the chart shows.
        x_title: What is counted.
        y_title: What is measured.
        low: Least value that is shown.
        high: Largest value that is shown.
        mark: A value that a line is drawn at.
    """
    places = sorted({x for each in series for x, _ in each.points})
    first, last = places[0], places[-1]
    wide = (first / 1.15, last * 1.15)
    plane = Plane(
        x=Axis(
            low=wide[0],
            high=wide[1],
            begin=_LEFT,
            end=WIDTH - 14,
            ticks=[(each, _count(each)) for each in places],
            title=x_title,
            logarithmic=True,
        ),
        y=_share_axis(high, y_title, low=low),
    )
    drawn = [] if mark is None else [plane.level(mark, "budget")]
    for place, each in enumerate(series):
        # A little apart, so that intervals do not hide each other.
        apart = 1.03 ** (place - (len(series) - 1) / 2)
        drawn.append(
            plane.line([(x * apart, e.value) for x, e in each.points], colour(place), each.name)
        )
        for x, estimate in each.points:
            at = plane.x(x * apart)
            text = f"{each.name}, {x:g}: {share_text(estimate)}"
            ends = {"y1": plane.y(estimate.low), "y2": plane.y(estimate.high)}
            drawn += [
                element("line", x1=at, x2=at, **ends, class_=f"line {colour(place)}"),
                element(
                    "circle",
                    element("title", text),
                    cx=at,
                    cy=plane.y(estimate.value),
                    r=3,
                    class_=f"dot {colour(place)}",
                ),
            ]
    entries = [(colour(place), each.name) for place, each in enumerate(series)]
    shown = [legend(entries)] if len(series) > 1 else []
    return _figure(title, drawing(236, title, *plane.axes(), *drawn), *shown)


def gate_chart(layers: Sequence[LayerGates]) -> Markup:
    """Shares of gates that are always open, depend on the image, or are always closed.

    Args:
        layers: What the gates of each layer do.
    """
    states = (
        ("open", "always open", [layer.always_open for layer in layers]),
        ("depends", "depends on the image", [layer.input_dependent for layer in layers]),
        ("closed", "always closed", [layer.always_closed for layer in layers]),
    )
    drawn, end = [], WIDTH - 14
    for place, layer in enumerate(layers):
        middle, begin = 10.0 + 14 * place, _LABELS
        total = layer.always_open + layer.input_dependent + layer.always_closed
        drawn.append(_name(layer.name, middle))
        for state, name, counts in states:
            width = counts[place] / total * (end - _LABELS)
            text = element("title", f"{layer.name}: {counts[place]} of {total} gates {name}")
            drawn.append(
                element(
                    "rect",
                    text,
                    x=round(begin, 1),
                    y=middle - 5,
                    width=round(width, 1),
                    height=10,
                    class_=state,
                )
            )
            begin += width
    title = "Gates of each layer"
    entries = [(f"box {state}", name) for state, name, _ in states]
    return _figure(title, drawing(14 * len(layers) + 6, title, *drawn), legend(entries))


def _figure(title: str, *children: str) -> Markup:
    return element("figure", element("figcaption", title), *children)


def _share_axis(high: float, title: str, *, low: float = 0.0) -> Axis:
    if (low, high) == (0.0, 1.0):
        ticks: Sequence[tuple[float, str]] = _PER_CENT
    else:
        step = _step(high - low)
        counts = range(int((high - low) / step + 1e-9) + 1)
        ticks = [(low + step * i, f"{(low + step * i) * 100:g} %") for i in counts]
    return Axis(low=low, high=high, begin=200, end=20, ticks=ticks, title=title)


def _step(high: float) -> float:
    """A round step that gives at most five parts."""
    return next(
        step
        for step in (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25)
        if high / step <= 5 or step == 0.25
    )


def _count(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def _name(name: str, middle: float) -> Markup:
    short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
    shown = [element("title", name)] if short != name else []
    return element("text", *shown, short, x=_LABELS - 6, y=middle + 3.5, text_anchor="end")


def _interval(x: Axis, middle: float, share: Share, text: str) -> Markup:
    return element(
        "g",
        element("title", text),
        element(
            "line", x1=x(share.low), x2=x(share.high), y1=middle, y2=middle, class_="line c0"
        ),
        element("circle", cx=x(share.rate), cy=middle, r=3, class_="dot c0"),
    )
