"""How classes lie among each other: a dendrogram, and heat maps in its order."""

from __future__ import annotations

from typing import Final

from detector.jobs.interpretation.class_distances import ClassDistances
from detector.jobs.interpretation.interpretation import Interpretation
from detector.jobs.pages.heat_map import MOST_CLASSES, heat_map
from detector.jobs.pages.markup import Markup, details, element, table
from detector.jobs.pages.plane import WIDTH, drawing

__all__ = ["class_part"]

_ROW: Final = 16
_LETTERS: Final = 12
"""Letters of a name that fit beside the dendrogram; the whole one is shown on hovering."""

_LABELS: Final = 92.0
_END: Final = WIDTH - 40


def class_part(found: Interpretation) -> list[Markup]:
    """The dendrogram of all layers, the heat map of each, and how they grow along the network."""
    everywhere, *layers = found.distances
    note = (
        f"From {found.rate_images:,} {found.learn_split} images, each gate by itself. Divergence: "
        "the symmetric Kullback-Leibler divergence of two classes, in nats, summed over gates. "
        f"With shuffled labels it is {everywhere.shuffled_divergence:.2f} nats in all layers, "
        f"where true ones have {everywhere.mean_divergence:.1f} on average."
    )
    rows = [
        [each.layer, f"{each.mean_divergence:.2f}", f"{each.shuffled_divergence:.3f}"]
        for each in found.distances
    ]
    few = len(found.class_names) <= MOST_CLASSES
    maps = details("Each layer", *(_heat_map(each, found.class_names) for each in layers))
    return [
        element("p", note, class_="note"),
        element(
            "div",
            _dendrogram(everywhere, found.class_names),
            table(["layer", "mean divergence, nats", "with shuffled labels"], rows),
            class_="charts",
        ),
        *([_heat_map(everywhere, found.class_names), maps] if few else []),
    ]


def _heat_map(distances: ClassDistances, names: tuple[str, ...]) -> Markup:
    return heat_map(
        "Gates that differ between an image of one class and one of another, per cent: "
        + distances.layer,
        [
            (names[row], [distances.differing[row][column] for column in distances.order])
            for row in distances.order
        ],
        [names[column] for column in distances.order],
    )


def _label(name: str, height: float) -> Markup:
    short = name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1].rstrip()}…"
    place = {"x": _LABELS - 5, "y": height + 3.5, "text_anchor": "end"}
    return element("text", element("title", name), short, **place)


def _dendrogram(distances: ClassDistances, names: tuple[str, ...]) -> Markup:
    """Classes one below the other, joined as far to the right as they lie apart."""
    farthest = max((merge.divergence for merge in distances.merges), default=0.0) or 1.0
    heights: dict[tuple[int, ...], float] = {}
    drawn = []
    for place, label in enumerate(distances.order):
        height = heights[(label,)] = 12.0 + _ROW * place
        drawn.append(_label(names[label], height))
    ends = dict.fromkeys(heights, _LABELS)
    for merge in distances.merges:
        x = round(_LABELS + merge.divergence / farthest * (_END - _LABELS), 1)
        first, second = heights[merge.first], heights[merge.second]
        way = f"M{ends[merge.first]} {first}H{x}V{second}H{ends[merge.second]}"
        text = element("title", f"{merge.divergence:.2f} nats")
        drawn.append(element("path", text, d=way, class_="branch"))
        joined = (*merge.first, *merge.second)
        heights[joined], ends[joined] = (first + second) / 2, x
    bottom = 12.0 + _ROW * len(names)
    drawn.append(
        element("text", f"{farthest:.0f} nats", x=_END, y=bottom + 8, text_anchor="middle")
    )
    title = "Classes by their paths in all layers"
    return element("figure", element("figcaption", title), drawing(bottom + 14, title, *drawn))
