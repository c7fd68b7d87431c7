"""The story of one image's path, layer by layer; and of others beside it, as of attacked twins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from detector.data import Splits
from detector.errors import DataError
from detector.explanation import Explanation
from detector.jobs.plain_values import to_plain
from detector.paths import PathVectors
from detector.pipeline import Findings, Pipeline
from detector.scoring import ActivationDistance, PathScores

__all__ = ["LayerStory", "Story", "near_images", "tell_stories"]

_RARE = 0.05
"""A gate is unusual in a state that at most this share of clean images of the class have it in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerStory:
    """What one layer says of an image.

    Args:
        layer: Name of the layer.
        open_gates: Number of its open gates.
        usual: Number of gates in a state that more than 5 % of clean images of the predicted class
            have them in.
        unusually_open: The filters that are open where hardly any such image opens them.
        unusually_closed: The filters that are closed where nearly all open them.
        distance: How much farther from the clean images of the predicted class than these
            themselves are on average, in their standard deviations.
        rival_margin: By how much the layer fits the rival class better than the predicted one:
            squared distance from the latter less that from the former.
        differing: Number of gates in another state than for the first image; None for that one.
    """

    layer: str
    open_gates: int
    usual: int
    unusually_open: tuple[int, ...]
    unusually_closed: tuple[int, ...]
    distance: float
    rival_margin: float
    differing: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """The path of one image.

    Args:
        predicted: Label of the predicted class.
        probability: Its probability, in [0, 1].
        p_value: Share of clean images that would look at least as suspicious, in (0, 1].
        verdict: ``on path``, ``off path`` or ``abstain``.
        rival: Label of the class that the predicted one is held against: that of the first image
            where this one is predicted otherwise, else the other class that the path fits best.
        settles_on: Label of the one of these two that the last layer fits better.
        settles_at: The layer from which on every layer does: where the path joins that class.
        layers: Each layer, in the order of the network.
        explanation: The gates that count most, the rival and the training images with the nearest
            paths; None where the score is not finite.
    """

    predicted: str
    probability: float
    p_value: float
    verdict: str
    rival: str
    settles_on: str
    settles_at: str
    layers: tuple[LayerStory, ...]
    explanation: Explanation | None

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON values; None for numbers that are not finite."""
        plain: dict[str, Any] = _without_infinities(to_plain(self))
        return plain


def _without_infinities(value: Any) -> Any:
    """Plain values without those that JSON has no word for."""
    if isinstance(value, dict):
        return {name: _without_infinities(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_infinities(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def tell_stories(pipeline: Pipeline, images: Tensor) -> tuple[Story, ...]:
    """The stories of some images, each beside the first.

    Args:
        pipeline: The detector.
        images: uint8 of shape (B, 3, H, W), B at least 1, at the size of the pipeline's input.

    Raises:
        InvalidInputError: If type or shape are others.
    """
    findings = pipeline.analyse(images)
    findings = pipeline.explain(findings, range(len(images)))
    level = pipeline.levels[findings.level]
    scores = level.suspicion.statistics.path_scores
    with torch.inference_mode():
        lies = _lies(scores, findings, pipeline.device)
    return tuple(_story(pipeline, findings, lies, row) for row in range(len(images)))


def near_images(stories: Sequence[Story], splits: Splits) -> dict[int, Tensor]:
    """The training images with the nearest paths, by their index, uint8 of shape (3, H, W).

    Args:
        stories: The stories that name them.
        splits: The data that the bundle was made with.

    Raises:
        DataError: If the data have no such images, or of another class.
    """
    source = splits.train.source
    found = {}
    for story in stories:
        for near in story.explanation.neighbours if story.explanation else ():
            if near.image >= len(source) or source.labels[near.image] != near.index:
                raise DataError(
                    f"Training image {near.image} should be a {near.label}. Found other data than "
                    "the bundle was made with. Give those, or leave out --data."
                )
            found[near.image] = source.read([near.image], splits.preprocessing)[0]
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Lies:
    """Where the paths of a batch lie, in main memory.

    Args:
        distances: As in `LayerStory`, shape (B, L).
        margins: As in `LayerStory`, shape (B, L).
        rivals: The rival classes, shape (B,).
        open_shares: Share of clean images of the predicted class that open each gate, (B, G).
    """

    distances: Tensor
    margins: Tensor
    rivals: Tensor
    open_shares: Tensor


def _lies(scores: PathScores, findings: Findings, device: torch.device) -> _Lies:
    distance = cast("ActivationDistance", scores.scores["activations"])
    path, predicted = findings.path.to(device), findings.predicted.to(device)
    found = distance.deviation(path, predicted)
    rivals = torch.where(predicted == predicted[0], found.other, predicted[0])
    return _Lies(
        distances=((found.own - distance.centre[0]) / distance.scale[0]).cpu(),
        margins=(found.own - distance.deviation(path, rivals).own).cpu(),
        rivals=rivals.cpu(),
        open_shares=scores.open_rates.cpu()[findings.predicted],
    )


def _story(pipeline: Pipeline, findings: Findings, lies: _Lies, row: int) -> Story:
    detection = pipeline.detect(findings, row)
    layers = _layers(findings.path, lies, row)
    rival = pipeline.class_names[int(lies.rivals[row])]
    return Story(
        predicted=detection.label,
        probability=detection.probability,
        p_value=detection.p_value,
        verdict=detection.verdict.value,
        rival=rival,
        settles_on=rival if layers[-1].rival_margin > 0 else detection.label,
        settles_at=_settles_at(layers),
        layers=layers,
        explanation=detection.explanation,
    )


def _layers(path: PathVectors, lies: _Lies, row: int) -> tuple[LayerStory, ...]:
    layout = path.layout
    bits, shares = path.bits[row], lies.open_shares[row]
    wrongly_open, wrongly_closed = bits & (shares <= _RARE), ~bits & (shares >= 1 - _RARE)
    differing = bits ^ path.bits[0]
    return tuple(
        LayerStory(
            layer=name,
            open_gates=int(bits[part].sum()),
            usual=int((~wrongly_open & ~wrongly_closed)[part].sum()),
            unusually_open=_filters(wrongly_open[part]),
            unusually_closed=_filters(wrongly_closed[part]),
            distance=distance,
            rival_margin=margin,
            differing=int(differing[part].sum()) if row else None,
        )
        for name, part, distance, margin in zip(
            layout.names,
            layout.slices,
            lies.distances[row].tolist(),
            lies.margins[row].tolist(),
            strict=True,
        )
    )


def _filters(which: Tensor) -> tuple[int, ...]:
    return tuple(which.nonzero().flatten().tolist())


def _settles_at(layers: Sequence[LayerStory]) -> str:
    """The first of the layers at the end that all fit the same one of two classes better."""
    first = layers[-1]
    for layer in reversed(layers):
        if (layer.rival_margin > 0) != (layers[-1].rival_margin > 0):
            break
        first = layer
    return first.layer
