"""Images with their expected outcome, so that a bundle can test itself where it is loaded."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from detector.errors import BundleError
from detector.pipeline import DeviceNoise, Findings, LevelName, Pipeline

__all__ = ["check_golden", "make_golden"]

_KEPT = 4
_CANDIDATES = 64
_NEAR_ZERO = 1e-3
"""Gate logits this near to zero may fall on either side on another processor."""
_TOLERANCE = 1e-2
"""Of class logits and scores. Rounding moves them by 1e-5, reduced precision by about .1."""


def make_golden(pipeline: Pipeline) -> dict[str, Tensor]:
    """Artificial images and what the pipeline finds about them.

    Of many smooth random images those are kept whose gates are least undecided: there, other
    processors come to the same path.

    Args:
        pipeline: The pipeline, on the device that it was calibrated on.
    """
    side = pipeline.preprocessing
    noise = torch.rand(_CANDIDATES, 3, 8, 8, generator=torch.Generator().manual_seed(20200823))
    smooth = functional.interpolate(noise, size=(side.height, side.width), mode="bilinear")
    images = (smooth * 255).round().to(torch.uint8)
    found = pipeline.analyse(images)
    rows = found.path.logits.abs().amin(dim=1).topk(_KEPT).indices
    kept = images[rows].contiguous()
    return {
        "images": kept,
        "bits": found.path.bits[rows],
        "gate_logits": found.path.logits[rows],
        "class_logits": found.class_logits[rows],
        **{_scores(level): pipeline.analyse(kept, level).scores for level in pipeline.levels},
    }


def check_golden(pipeline: Pipeline, golden: Mapping[str, Tensor]) -> DeviceNoise:
    """Run the pipeline on the golden images and compare.

    Args:
        pipeline: The pipeline as it was loaded.
        golden: What `make_golden` gave when the bundle was made.

    Returns:
        How far apart rounding puts the two, and a batch and its images one by one on this device.

    Raises:
        BundleError: If the pipeline finds something else.
        KeyError: If a tensor is missing.
    """
    findings = {level: pipeline.analyse(golden["images"], level) for level in pipeline.levels}
    found = findings[pipeline.default_level]
    scores = {level: each.scores for level, each in findings.items()}
    wrong = [
        name
        for name, agrees in (
            ("gates", _same_bits(found, golden)),
            ("class logits", _close(found.class_logits, golden["class_logits"])),
            *(
                (f"{level} scores", _close(scores[level], golden[_scores(level)]))
                for level in pipeline.levels
            ),
        )
        if not agrees
    ]
    if wrong:
        raise BundleError(
            "The self-test of the bundle should give the results that were stored with it. "
            f"Found other {', '.join(wrong)} on {pipeline.device}. Turn off reduced precision and "
            "autocast, or calibrate the bundle on this kind of machine."
        )
    alone = [pipeline.analyse(image.unsqueeze(0)) for image in golden["images"]]
    logits = (found.path.logits, torch.cat([each.path.logits for each in alone]))
    expected = golden["gate_logits"]
    return DeviceNoise.between(
        pipeline.layout,
        (torch.cat([expected] * 2), torch.cat(logits)),
        {
            level: (
                torch.cat([golden[_scores(level)]] * 2),
                torch.cat(
                    [score, torch.cat([each.scores for each in alone])]
                    if level == pipeline.default_level
                    else [score] * 2
                ),
            )
            for level, score in scores.items()
        },
    )


def _scores(level: LevelName) -> str:
    return f"{level}.scores"


def _same_bits(found: Findings, golden: Mapping[str, Tensor]) -> bool:
    decided = golden["gate_logits"].abs() > _NEAR_ZERO
    return torch.equal(found.path.bits & decided, golden["bits"] & decided)


def _close(found: Tensor, expected: Tensor) -> bool:
    """Whether most images agree: one that stands at the edge of a tree's split may not."""
    near = torch.isclose(found, expected, rtol=0.1 * _TOLERANCE, atol=_TOLERANCE, equal_nan=True)
    return float(near.float().mean()) > 0.5
