"""What the commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from service.results import Detection, DriftDescription, Verdict

__all__ = [
    "ShownImage",
    "detections_json",
    "detections_table",
    "drift_line",
    "level_line",
    "reason_lines",
    "verdict_text",
]

_STYLES = {Verdict.ON_PATH: "green", Verdict.OFF_PATH: "bold red", Verdict.ABSTAIN: "yellow"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownImage:
    """One row of a table.

    Args:
        name: Name of the image.
        detection: What was found.
        kind: What was done to it, where that is told.
    """

    name: str
    detection: Detection
    kind: str = ""


def verdict_text(verdict: Verdict) -> Text:
    """A verdict in its colour."""
    return Text(verdict.value, style=_STYLES[verdict])


def detections_table(images: Sequence[ShownImage]) -> Table:
    """One row for each image, narrow enough for 80 columns if names are short."""
    kinds = any(image.kind for image in images)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title, shown in (("image", True), ("kind", kinds), ("prediction", True)):
        if shown:
            table.add_column(title, overflow="fold")
    for title in ("prob.", "score", "p-value"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for image in images:
        found = image.detection
        table.add_row(
            image.name,
            *([image.kind] if kinds else []),
            found.label,
            _shown(found.probability, 3),
            _shown(found.score, 2),
            ("≤ " if found.p_value_is_bucket else "") + _shown(found.p_value, 4),
            verdict_text(found.verdict),
        )
    return table


def level_line(detection: Detection) -> Text:
    """Which level answered and what it costs, for below the table."""
    passes = "1 pass" if detection.passes == 1 else f"{detection.passes} passes"
    return Text(f"Level {detection.level}: {passes} of the network for each image.", style="dim")


def drift_line(drift: DriftDescription) -> Text | None:
    """That the promise is withdrawn, since when and what to do; None where it is not."""
    if not drift.found:
        return None
    layers = ", ".join(f"{layer.name} {layer.ratio:.3f}" for layer in drift.layers)
    moved = f" Layers that moved furthest: {layers}." if layers else ""
    return Text.assemble((f"Drift found at {drift.found}. ", "bold yellow"), drift.advice + moved)


def reason_lines(images: Sequence[ShownImage]) -> list[Text]:
    """One line for each image whose verdict comes with a reason, for below the table."""
    return [
        Text.assemble((f"{image.name}: ", "bold"), _reason(image.detection))
        for image in images
        if image.detection.reason
    ]


def detections_json(images: Sequence[ShownImage]) -> str:
    """A JSON array with one object for each image; what is not a number is null."""
    rows = [
        {
            "image": image.name,
            **asdict(image.detection),
            "score": _number(image.detection.score),
            "p_value": _number(image.detection.p_value),
        }
        for image in images
    ]
    return json.dumps(rows, indent=2, allow_nan=False)


def _shown(value: float | None, digits: int) -> str:
    """A number in so many digits; what the server does not tell is a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def _number(value: float | None) -> float | None:
    """JSON knows no NaN."""
    return value if value is not None and math.isfinite(value) else None


def _reason(detection: Detection) -> str:
    layers = ", ".join(f"{layer.name} {layer.weight:.0%}" for layer in detection.layers)
    return f"{detection.reason} Farthest: {layers}." if layers else detection.reason
