"""What people see fits their terminals; what programs see is JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from rich.console import Console

from service.results import Detection, LayerWeight, Level, Verdict
from service.tables import (
    ShownImage,
    detections_json,
    detections_table,
    level_line,
    reason_lines,
)


def shown(name: str, *, kind: str = "", score: float = 0.93) -> ShownImage:
    return ShownImage(
        name=name,
        kind=kind,
        detection=Detection(
            predicted_class=1,
            label="automobile",
            probability=0.5,
            score=score,
            p_value=0.01 if math.isfinite(score) else score,
            alpha=0.05,
            level=Level.STANDARD,
            passes=2,
            verdict=Verdict.OFF_PATH,
            reason="It is strange.",
            layers=(LayerWeight(name="layer1", weight=0.5),),
        ),
    )


def test_a_row_of_the_demo_is_one_line_of_80_columns() -> None:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(detections_table([shown("automobile_0134", kind="FGSM 8/255")]))
    title, _, row = capture.get().rstrip("\n").splitlines()
    for word in ("image", "kind", "prediction", "prob.", "score", "p-value", "verdict"):
        assert word in title
    assert row.split() == [
        *("automobile_0134", "FGSM", "8/255", "automobile"),
        *("0.500", "0.93", "0.0100", "off", "path"),
    ]


def test_what_a_server_does_not_tell_is_a_dash_and_null() -> None:
    plain = shown("a.png")
    found = replace(
        plain.detection, probability=None, score=None, p_value_is_bucket=True, reason="", layers=()
    )
    plain = replace(plain, detection=found)
    console = Console(width=80)
    with console.capture() as capture:
        console.print(detections_table([plain]))
    assert "-       -   ≤ 0.0100   off path" in capture.get()
    assert reason_lines([plain]) == []
    (row,) = json.loads(detections_json([plain]))
    assert (row["probability"], row["score"], row["p_value"]) == (None, None, 0.01)
    assert row["p_value_is_bucket"]


def test_the_reason_and_the_layers_stand_below_by_name() -> None:
    (line,) = reason_lines([shown("a.png")])
    assert line.plain == "a.png: It is strange. Farthest: layer1 50%."


@pytest.mark.parametrize(("passes", "told"), [(1, "1 pass of"), (9, "9 passes of")])
def test_the_level_and_its_price_are_one_line(passes: int, told: str) -> None:
    detection = replace(shown("a.png").detection, level=Level.FAST, passes=passes)
    assert level_line(detection).plain == f"Level fast: {told} the network for each image."


@pytest.mark.parametrize("score", [0.93, float("nan")])
def test_json_has_numbers_or_null(score: float) -> None:
    (row,) = json.loads(detections_json([shown("a.png", score=score)]))
    assert row["score"] == (score if math.isfinite(score) else None)
    assert (row["image"], row["verdict"]) == ("a.png", "off path")
    assert (row["level"], row["passes"]) == ("standard", 2)
