"""The maps of the layers: small ones side by side, the same images in each."""

from __future__ import annotations

from typing import Final

from detector.jobs.interpretation.embedding import LayerMap
from detector.jobs.interpretation.interpretation import Interpretation
from detector.jobs.pages.markup import Markup, element, legend
from detector.jobs.pages.plane import WIDTH, drawing

__all__ = ["map_part"]

_COLOURS: Final = 10
_MARGIN: Final = 10.0


def map_part(found: Interpretation) -> list[Markup]:
    """One map for each layer."""
    drawn = found.embedding
    if not drawn.layers:
        return [element("p", "No maps were drawn.", class_="note")]
    note = (
        f"{len(drawn.labels):,} {found.check_split} images, drawn by t-SNE from the bits of one "
        "layer at a time: near ones have alike gates; distances between far ones mean nothing. "
        "Images with the same gates lie on one heap."
    )
    names = [(f"c{place % _COLOURS}", name) for place, name in enumerate(found.class_names)]
    return [
        element("p", note, class_="note"),
        legend(names),
        element("div", *(_map(each, drawn.labels) for each in drawn.layers), class_="maps"),
    ]


def _map(layer: LayerMap, labels: tuple[int, ...]) -> Markup:
    """One path a class: thousands of circles would make the page ten times as large."""
    left, top = (min(values) for values in zip(*layer.points, strict=True))
    right, bottom = (max(values) for values in zip(*layer.points, strict=True))
    scale = (WIDTH - 2 * _MARGIN) / max(right - left, bottom - top, 1e-9)
    dots: dict[int, list[str]] = {}
    for (x, y), label in zip(layer.points, labels, strict=True):
        place = f"M{_MARGIN + (x - left) * scale:.0f} {_MARGIN + (y - top) * scale:.0f}h0"
        dots.setdefault(label, []).append(place)
    paths = [
        element("path", d="".join(places), class_=f"points c{label % _COLOURS}")
        for label, places in sorted(dots.items())
    ]
    height = (bottom - top) * scale + 2 * _MARGIN
    return element(
        "figure",
        element("figcaption", layer.layer),
        drawing(round(height), f"Images by the gates of {layer.layer}", *paths),
    )
