"""The model card of the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from detector.jobs.calibration_report.report import CalibrationReport
from detector.jobs.evaluation.markdown import budget_text
from detector.jobs.pages.markup import (
    Markup,
    details,
    element,
    join,
    table,
    verbatim,
)

__all__ = ["card_part", "promise_text"]

_CLEAN_ONLY: Final = (
    "The promise is about clean images that resemble the calibration images, for each predicted "
    "class by itself. It ends where the traffic drifts."
)
_ATTACKERS: Final = (
    "It says nothing about how many attacks are missed. An attacker who knows the detector can "
    "look for images that pass; the figures above are of attackers who do not."
)
_LIMITS: Final = (_CLEAN_ONLY, _ATTACKERS, "A verdict is evidence, not a wall.")


def card_part(report: CalibrationReport) -> Markup:
    """What the bundle is, how it was made and where it ends.

    Args:
        report: The report.
    """
    card = report.card
    parts = [
        _facts(
            [
                ("bundle", card.digest),
                ("calibrated", card.created),
                (
                    "network",
                    (
                        f"{card.backbone}, {card.gates} gates in {card.layers} layers, "
                        f"images of {card.width} x {card.height} pixels, "
                        f"{len(report.class_names)} classes"
                    ),
                ),
                ("promise", promise_text(report)),
                (
                    "path distributions",
                    f"fitted on clean images of the {report.sources.paths_of} split",
                ),
                ("calibration images a class", _counts(card.calibration_counts)),
                (
                    "needed a class",
                    ", ".join(
                        f"{needed} for {budget_text(budget)}"
                        for budget, needed in zip(report.budgets, card.needed, strict=True)
                    ),
                ),
            ]
        ),
        table(
            ["level", "passes", "fusion", "copies"],
            [
                [
                    f"{level.name} (default)" if place == 0 else level.name,
                    str(level.passes),
                    level.fusion,
                    ", ".join(level.copies) or "none",
                ]
                for place, level in enumerate(card.levels)
            ],
            class_="words",
        ),
        element("h3", "Limits"),
        element("ul", *(element("li", each) for each in _LIMITS)),
        details(
            "How it was made",
            verbatim(json.dumps(card.provenance, indent=1)),
        ),
    ]
    if card.text is not None:
        parts.append(details("The bundle's own model card", verbatim(card.text)))
    return join(parts)


def promise_text(report: CalibrationReport) -> str:
    """What is promised, in a sentence."""
    card = report.card
    share = f"at most {budget_text(card.alpha)} of clean images of each predicted class flagged"
    if card.guarantee == "pac":
        return f"{share}, with {card.confidence * 100:g} % confidence for each class"
    return f"{share}, on average over calibrations"


def _counts(counts: Sequence[int]) -> str:
    return f"{min(counts)} to {max(counts)}, {sum(counts)} together"


def _facts(facts: Sequence[tuple[str, str]]) -> Markup:
    pairs = [element("div", element("dt", name), element("dd", value)) for name, value in facts]
    return element("dl", *pairs, class_="facts")
