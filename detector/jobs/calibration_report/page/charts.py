"""The charts of a calibration report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from detector.jobs.calibration_report.sections import LayerGates
from detector.jobs.evaluation.estimates import Estimate
from detector.jobs.evaluation.figures import ScoreFigures
from detector.jobs.evaluation.markdown import area_text, share_text
from detector.jobs.pages.markup import Markup, element, legend
from detector.jobs.pages.plane import WIDTH, Axis, Plane, drawing

__all__ = ["Series", "colour", "curve_chart", "gate_chart", "interval_chart", "roc_chart"]

_COLOURS: Final = 8
_LEFT: Final = 40.0
_RIGHT: Final = WIDTH - 20
_ROW: Final = 15
_LABELS: Final = 96.0
_NARROW: Final = frozenset("fijlrtI.,:;'|!()[]- ")
_WIDE: Final = frozenset("mwMWQOG@%&<>…")


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
            end=_RIGHT,
            ticks=((0.001, "0.1 %"), (0.01, "1 %"), (0.1, "10 %"), (1.0, "100 %")),
            title="clean images flagged",
            logarithmic=True,
        ),
        y=_upwards(0.0, 1.0, "attacked images found"),
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
        drawing(238, label, *plane.axes(), *lines),
        legend([*entries, ("chance", "chance")]),
    )


def interval_chart(
    rows: Sequence[tuple[str, Estimate | None]],
    *,
    title: str,
    x_title: str,
    mark: float,
    mark_text: str,
    per_cent: bool = True,
) -> Markup:
    """Figures with their intervals, one below the other.

    Args:
        rows: Name of each row and its figure, in [0, 1]; None where there is none.
        title: What the chart shows.
        x_title: What is measured.
        mark: Where a line is drawn.
        mark_text: What that line means.
        per_cent: Whether figures are told in per cent; they start at 0 then, or else at the mark.
    """
    known = [estimate for _, estimate in rows if estimate is not None]
    if per_cent:
        low, high = 0.0, max([mark * 1.4, *(estimate.high for estimate in known)])
    else:
        low, high = min([mark, *(max(0.0, estimate.low) for estimate in known)]), 1.0
    bottom = 24.0 + _ROW * len(rows)
    x = Axis(
        low=low,
        high=high,
        begin=_LABELS,
        end=_RIGHT,
        ticks=_ticks(low, high, per_cent=per_cent),
        title=x_title,
    )
    y = Axis(low=0.0, high=1.0, begin=bottom, end=16.0, ticks=(), title="")
    at = x(mark)
    drawn = [
        *Plane(x=x, y=y).axes(),
        element("line", x1=at, x2=at, y1=16, y2=bottom, class_="budget"),
        element("text", mark_text, x=at, y=11, text_anchor="middle"),
    ]
    for place, (name, estimate) in enumerate(rows):
        middle = 28.0 + _ROW * place
        drawn.append(_name(name, middle))
        if estimate is not None:
            text = share_text(estimate) if per_cent else area_text(estimate)
            drawn.append(_interval(x, middle, estimate, f"{name}: {text}"))
    return _figure(title, drawing(bottom + 36, title, *drawn))


def curve_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_title: str,
    y_title: str,
    low: float = 0.0,
    high: float = 1.0,
    mark: float | None = None,
    per_cent: bool = True,
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
        per_cent: Whether figures are told in per cent.
    """
    places = sorted({x for each in series for x, _ in each.points})
    first, last = places[0], places[-1]
    wide = (first / 1.15, last * 1.15)
    plane = Plane(
        x=Axis(
            low=wide[0],
            high=wide[1],
            begin=_LEFT,
            end=_RIGHT,
            ticks=[(each, _count(each)) for each in places],
            title=x_title,
            logarithmic=True,
        ),
        y=_upwards(low, high, y_title, per_cent=per_cent),
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
            figure = share_text(estimate) if per_cent else area_text(estimate)
            text = f"{each.name}, {x:g}: {figure}"
            ends = (estimate.low, estimate.high)
            drawn += plane.estimate(at, estimate.value, ends, colour(place), text)
    entries = [(colour(place), each.name) for place, each in enumerate(series)]
    shown = [legend(entries)] if len(series) > 1 else []
    return _figure(title, drawing(238, title, *plane.axes(), *drawn), *shown)


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
    drawn, end = [], _RIGHT
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


def _upwards(low: float, high: float, title: str, *, per_cent: bool = True) -> Axis:
    ticks = _ticks(low, high, per_cent=per_cent)
    return Axis(low=low, high=high, begin=200, end=20, ticks=ticks, title=title)


def _ticks(low: float, high: float, *, per_cent: bool) -> list[tuple[float, str]]:
    """Round values from one end to the other."""
    step = _step(high - low)
    places = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [
        (place * step, f"{place * step * 100:g} %" if per_cent else f"{place * step:.1f}")
        for place in places
    ]


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
    """Name of a row; where there is no room its middle is cut, as names differ in their ends."""
    shown, kept = name, len(name)
    while _width(shown) > _LABELS - 8:
        kept -= 1
        shown = f"{name[: kept // 2]}…{name[len(name) - (kept - kept // 2) :]}"
    whole = [element("title", name)] if shown != name else []
    return element("text", *whole, shown, x=_LABELS - 6, y=middle + 3.5, text_anchor="end")


def _width(text: str) -> float:
    """About how wide a text is, rather more than less: which font it gets nobody knows."""
    return sum(3.9 if c in _NARROW else 9.8 if c in _WIDE else 6.7 for c in text)


def _interval(x: Axis, middle: float, estimate: Estimate, text: str) -> Markup:
    return element(
        "g",
        element("title", text),
        element(
            "line", x1=x(estimate.low), x2=x(estimate.high), y1=middle, y2=middle, class_="line c0"
        ),
        element("circle", cx=x(estimate.value), cy=middle, r=3, class_="dot c0"),
    )
