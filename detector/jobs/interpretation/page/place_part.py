"""Where the concepts of masks are, and the filters whose maps cover them."""

from __future__ import annotations

from detector.jobs.interpretation.dissection import Dissection, PlacedRule
from detector.jobs.interpretation.interpretation import Interpretation
from detector.jobs.interpretation.page.texts import per_cent
from detector.jobs.pages.markup import Markup, details, element, table

__all__ = ["place_part"]


def place_part(found: Interpretation) -> list[Markup]:
    """Each concept's combination of filters beside the best single one."""
    if not found.dissections:
        return [element("p", "No masks were given.", class_="note")]
    first = found.dissections[0]
    note = (
        "A filter is lit where its activation map, gated and drawn to the size of the input, "
        "exceeds a high quantile of its activations; a combination takes the pixels where enough "
        "of its filters are lit. IoU: pixels taken that have the concept, by pixels taken or with "
        f"the concept. Found with {first.learn_images:,} images with masks, measured on "
        f"{first.check_images:,} others."
    )
    head = ["concept", "images with it", "filters", "IoU", "precision", "recall"]
    head += ["best single filter's IoU", "combination better"]
    words = [
        [each.concept, each.combination.sentence, each.singles[0].sentence]
        for each in found.dissections
    ]
    return [
        element("p", note, class_="note"),
        table(head, [_row(each) for each in found.dissections]),
        element("h3", "In words"),
        table(["concept", "is where these are lit", "best single filter"], words, class_="words"),
        *(details(f"Single filters: {each.concept}", _singles(each)) for each in found.dissections),
    ]


def _row(found: Dissection) -> list[str]:
    return [
        found.concept,
        f"{found.having:,}",
        str(len(found.combination.filters)),
        *_figures(found.combination),
        per_cent(found.singles[0].cover.iou),
        "yes" if found.beats_single else "no",
    ]


def _singles(found: Dissection) -> Markup:
    rows = [
        [each.sentence, f"{each.filters[0].top_share:.1%}", *_figures(each)]
        for each in found.singles
    ]
    return table(["filter", "lit in", "IoU", "precision", "recall"], rows)


def _figures(rule: PlacedRule) -> list[str]:
    cover = rule.cover
    return [
        per_cent(cover.iou),
        "-" if cover.precision is None else per_cent(cover.precision),
        per_cent(cover.recall),
    ]
