"""What the pipeline says about images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import NamedTuple

from torch import Tensor

from detector.explanation import Explanation
from detector.paths import PathVectors
from detector.pipeline.levels import LevelName
from detector.pipeline.steadiness import Steadiness
from detector.pipeline.stopwatch import Spent

__all__ = ["Abstention", "Detection", "Findings", "Found", "LayerWeight", "Verdict"]

_HEAVIEST = 5
"""How many layers a detection names."""


class Verdict(Enum):
    """What Offpath says about one image."""

    ON_PATH = "on path"
    """Its path is one that clean images of its predicted class take."""
    OFF_PATH = "off path"
    """Its path is one that at most the budget's share of clean images take."""
    ABSTAIN = "abstain"
    """Nothing can be promised about it, or it would be another verdict had the machine rounded
    otherwise."""


class Abstention(Enum):
    """Why there is no verdict either way."""

    CALIBRATION_TOO_SMALL = "calibration too small"
    """Too few calibration images of the predicted class to promise the budget."""
    OUTPUT_NOT_FINITE = "output not finite"
    """The network's own output on the image is no number."""
    ROUNDING_DECIDES = "rounding decides"
    """It would be another verdict had the machine rounded otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerWeight:
    """How much one layer adds to a path's distance from its class.

    Args:
        name: Name of the layer.
        weight: Its share, in [0, 1]; the shares of all layers add up to 1.
    """

    name: str
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """What is said about one image.

    Args:
        predicted_class: Index of the predicted class.
        label: Its name.
        probability: The network's own probability of it, in [0, 1].
        score: How suspicious the path is; higher is more suspicious.
        p_value: Share of clean images of that class that are at least as suspicious, in (0, 1].
        alpha: False-alarm budget that the verdict keeps.
        level: How much compute the verdict cost.
        verdict: The verdict.
        reason: Why, in one sentence.
        layers: The layers in which the path lies furthest from its class, furthest first; none
            where the score is not finite.
        unstable_gates: Gates of the image and its copies that are open or closed by rounding.
        abstention: Why the verdict is `Verdict.ABSTAIN`; None where it is another.
        explanation: What its path says, where that was asked for; None where the score is not
            finite.

    Raises:
        ValueError: If only one of verdict and `abstention` says that there is none.
    """

    predicted_class: int
    label: str
    probability: float
    score: float
    p_value: float
    alpha: float
    level: LevelName
    verdict: Verdict
    reason: str
    layers: tuple[LayerWeight, ...]
    unstable_gates: int = 0
    abstention: Abstention | None = None
    explanation: Explanation | None = None

    def __post_init__(self) -> None:
        if (self.verdict is Verdict.ABSTAIN) is (self.abstention is None):
            raise ValueError(
                "An abstention should have a cause, and no other verdict one. "
                f"Found {self.verdict.name} with {self.abstention}."
            )


class Found(NamedTuple):
    """What was found about one image, in plain numbers.

    Args:
        predicted: Index of the predicted class.
        probability: The network's own probability of it.
        score: Higher is more suspicious; NaN where not finite.
        p_value: NaN where the score is not finite.
        layers: Indices of the layers in which the path lies furthest from its class, furthest
            first.
        weights: Their shares.
        unstable_gates: Gates that are open or closed by rounding; 0 where that was not measured.
        p_range: From the least to the greatest p-value that rounding leaves possible; None
            likewise.
    """

    predicted: int
    probability: float
    score: float
    p_value: float
    layers: list[int]
    weights: list[float]
    unstable_gates: int
    p_range: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)  # no slots: `rows` is kept in the instance's dictionary
class Findings:
    """What the pipeline found about a batch, in main memory.

    Args:
        level: At which level they were looked at.
        class_logits: Unnormalised class scores, shape (B, K).
        path: The paths.
        predicted: Predicted classes, int64 of shape (B,).
        probability: The network's own probability of them, shape (B,).
        scores: Higher is more suspicious, float32 of shape (B,); NaN where not finite.
        p_values: float64 of shape (B,); NaN where the score is not finite.
        layer_weights: Share of each layer in how far the path lies from its class, shape (B, L).
        testimony: What each witness of the level's fusion adds to the score, shape (B, W).
        steadiness: What rounding may change; None where the device's noise was not measured.
        spent: Where the time of the batch went; None where it was not the pipeline that ran it.
        explanations: What the paths of some images say, by their rows; see `Pipeline.explain`.
    """

    level: LevelName
    class_logits: Tensor
    path: PathVectors
    predicted: Tensor
    probability: Tensor
    scores: Tensor
    p_values: Tensor
    layer_weights: Tensor
    testimony: Tensor
    steadiness: Steadiness | None = None
    spent: Spent | None = None
    explanations: Mapping[int, Explanation] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.predicted)

    @cached_property
    def rows(self) -> tuple[Found, ...]:
        """The images one by one: a column costs about as much to read as one number of it does."""
        heaviest = self.layer_weights.topk(min(_HEAVIEST, self.layer_weights.shape[1]), dim=1)
        unstable: list[int] = [0] * len(self)
        ranges: list[tuple[float, float] | None] = [None] * len(self)
        if (steady := self.steadiness) is not None:
            unstable = steady.unstable_gates.tolist()
            ends = (steady.least_p_values.tolist(), steady.greatest_p_values.tolist())
            ranges = list(zip(*ends, strict=True))
        columns = (
            self.predicted.tolist(),
            self.probability.tolist(),
            self.scores.tolist(),
            self.p_values.tolist(),
            heaviest.indices.tolist(),
            heaviest.values.tolist(),
            unstable,
            ranges,
        )
        return tuple(Found(*row) for row in zip(*columns, strict=True))
