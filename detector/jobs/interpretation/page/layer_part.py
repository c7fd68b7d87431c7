"""What each layer's gates know, drawn along the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from detector.jobs.evaluation.estimates import Estimate
from detector.jobs.interpretation.interpretation import Interpretation
from detector.jobs.interpretation.page.texts import decimal, per_cent
from detector.jobs.pages.markup import Markup, element, legend, table
from detector.jobs.pages.plane import WIDTH, Axis, Plane, drawing

__all__ = ["layer_part"]

_SHUFFLED: Final = "shuffled labels"
_LOGITS: Final = "probe on gate logits"


def layer_part(found: Interpretation) -> list[Markup]:
    """Probes along the network, in charts and as a table."""
    probes = found.probes
    note = (
        "A linear probe reads the class off each layer's bits; what it finds on images that it has "
        "not seen bounds their mutual information with the class from below. No reading of the "
        "same bits of these images can find more than is said under “at most”: so much finds who "
        "knows the most frequent class of each state that the layer is in. On gate logits: the "
        "same probe on the values that bits are made from. The control has shuffled labels. Always "
        "open and always closed: for at least 99.9 % of "
        f"{found.rate_images:,} {found.learn_split} images."
    )
    highest = max(probes.class_entropy, *(each.information.high for each in probes.layers))
    return [
        element("p", note, class_="note"),
        element(
            "div",
            element(
                "figure",
                element("figcaption", "Accuracy of the probe"),
                _chart(
                    [each.accuracy.estimate for each in probes.layers],
                    [(probes.network.rate, "c2", "the network"), (probes.chance, "chance", "")],
                    high=1.0,
                    title="images whose class is found",
                    others=[
                        ([each.control.estimate for each in probes.layers], "c1", _SHUFFLED),
                        ([each.from_logits.estimate for each in probes.layers], "c3", _LOGITS),
                    ],
                ),
                legend(
                    [
                        ("c0", "probe"),
                        ("c1", _SHUFFLED),
                        ("c3", _LOGITS),
                        ("c2", "the network"),
                        ("chance", "chance"),
                    ]
                ),
            ),
            element(
                "figure",
                element("figcaption", "Bound on the mutual information"),
                _chart(
                    [each.information for each in probes.layers],
                    [(probes.class_entropy, "c2", "all there is to know")],
                    high=highest,
                    title="nats",
                ),
                legend([("c0", "probe"), ("c2", "entropy of the class")]),
            ),
            class_="charts",
        ),
        _table(found),
    ]


def _chart(
    figures: Sequence[Estimate],
    levels: Sequence[tuple[float, str, str]],
    *,
    high: float,
    title: str,
    others: Sequence[tuple[Sequence[Estimate], str, str]] = (),
) -> Markup:
    """Figures of the layers, in the order of the network, beside some others and some levels."""
    count = len(figures)
    marked = range(0, count, max(1, count // 6))
    plane = Plane(
        x=Axis(
            low=0.5,
            high=count + 0.5,
            begin=40.0,
            end=WIDTH - 20,
            ticks=[(place + 1.0, str(place + 1)) for place in marked],
            title="layer, from the image on",
        ),
        y=Axis(
            low=0.0,
            high=high,
            begin=200,
            end=20,
            ticks=[(high * step / 4, f"{high * step / 4:.2f}") for step in range(5)],
            title=title,
        ),
    )
    lines = [
        plane.line([(0.5, value), (count + 0.5, value)], colour, name)
        for value, colour, name in levels
    ]
    for series, colour, name in (*others, (figures, "c0", "probe")):
        lines += [
            plane.line([(x, each.low), (x, each.high)], colour, f"{name}, layer {x}")
            for x, each in enumerate(series, start=1)
        ]
        points = [(float(x), each.value) for x, each in enumerate(series, start=1)]
        lines.append(plane.line(points, colour, name))
    return drawing(236, f"{title}, layer by layer", *plane.axes(), *lines)


def _table(found: Interpretation) -> Markup:
    kinds = {each.layer: each for each in found.gates}
    rows = []
    for place, probe in enumerate((*found.probes.layers, found.probes.path), start=1):
        kind = kinds.get(probe.layer)
        name = probe.layer if kind is None else f"{place}. {probe.layer}"
        rows.append(
            [
                name,
                str(probe.gates),
                *(
                    ["", "", "", ""]
                    if kind is None
                    else [
                        str(kind.always_open),
                        str(kind.input_dependent),
                        str(kind.always_closed),
                        f"{kind.open_share:.0%}",
                    ]
                ),
                str(probe.paths),
                per_cent(probe.accuracy.estimate),
                f"{probe.at_most:.1%}",
                per_cent(probe.from_logits.estimate),
                decimal(probe.information),
                per_cent(probe.control.estimate),
            ]
        )
    head = ["layer", "gates", "always open", "depend", "always closed", "open on average"]
    head += ["states", "probe", "at most", "on gate logits", "bound, nats", "shuffled (99.7 %)"]
    return table(head, rows)
