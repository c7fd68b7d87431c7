"""Names what the paths of images say: gates, layers, a rival class and clean neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detector.explanation import (
    ExplainedGate,
    ExplainedLayer,
    Explanation,
    NearImage,
    Rival,
    ScorePart,
)
from detector.paths import PathLayout, PathVectors
from detector.row_blocks import SCORING_BLOCK, padded_rows
from detector.scoring import PathEvidence, PathScores, Witness, path_evidence

__all__ = ["explain_paths", "score_parts"]

_MOST = 5
"""How many layers, gates and neighbours an explanation names: as many as are read."""

_RARE = 0.5
"""Where fewer clean images of the class have a gate in this state, the state itself is the news."""


def explain_paths(
    scores: PathScores,
    path: PathVectors,
    predicted: Tensor,
    rows: Sequence[int],
    *,
    class_names: Sequence[str],
    device: torch.device,
) -> dict[int, Explanation]:
    """Explanations of some images of a batch, in blocks of rows: they do not hang on the others.

    Args:
        scores: Fitted scores of paths, on the device.
        path: Paths of the batch, in main memory.
        predicted: Predicted classes, int64 of shape (B,), in main memory.
        rows: Which images, at least one, all with finite scores.
        class_names: Name of each class.
        device: Where to compute.

    Returns:
        By row.
    """
    chosen = torch.tensor(rows)[padded_rows(len(rows), SCORING_BLOCK, torch.device("cpu"))]
    found: list[Explanation] = []
    for block in torch.split(chosen, SCORING_BLOCK):
        part, classes = path[block].to(device), predicted[block].to(device)
        evidence = path_evidence(scores, part, classes, neighbours=_MOST)
        asked = slice(len(rows) - len(found))  # behind them, the last block is padding
        found += _explanations(part[asked], classes[asked], evidence[asked], class_names)
    return dict(zip(rows, found, strict=True))


def score_parts(
    witnesses: Sequence[Witness], testimony: Tensor, rows: Sequence[int]
) -> dict[int, tuple[ScorePart, ...]]:
    """What the scores of some images are the sum of, largest first.

    Args:
        witnesses: Whose testimony the scores are the sum of; none where they are no such sum.
        testimony: What each adds, nats, shape (B, W).
        rows: Which images.

    Returns:
        By row.
    """
    order = testimony.argsort(dim=1, descending=True).tolist()
    values = testimony.tolist()
    return {
        row: tuple(
            ScorePart(
                name=witnesses[place].name,
                surprisal=values[row][place],
                sentence=f"{witnesses[place].meaning[0].upper()}{witnesses[place].meaning[1:]}.",
            )
            for place in order[row]
        )
        for row in rows
    }


def _explanations(
    path: PathVectors, classes: Tensor, evidence: PathEvidence, class_names: Sequence[str]
) -> list[Explanation]:
    """One for each image of a block."""
    nearest = evidence.nearest
    columns = (
        evidence.layers.sum(dim=1).tolist(),
        _layers(evidence, path.layout),
        _gates(path, classes, evidence, class_names),
        _rivals(classes, evidence, class_names),
        zip(
            nearest.image_ids.tolist(),
            nearest.labels.tolist(),
            nearest.distances.tolist(),
            strict=True,
        ),
    )
    return [
        Explanation(
            distance=distance,
            layers=layers,
            gates=gates,
            rival=rival,
            neighbours=tuple(
                NearImage(image=image, index=index, label=class_names[index], differing=differing)
                for image, index, differing in zip(*near, strict=True)
            ),
        )
        for distance, layers, gates, rival, near in zip(*columns, strict=True)
    ]


def _layers(evidence: PathEvidence, layout: PathLayout) -> list[tuple[ExplainedLayer, ...]]:
    """Those that lie farther out than in clean images, most first."""
    most = evidence.layers.topk(min(_MOST, layout.layers), dim=1)
    return [
        tuple(
            ExplainedLayer(name=layout.names[index], contribution=value)
            for index, value in zip(indices, values, strict=True)
            if value > 0
        )
        for indices, values in zip(most.indices.tolist(), most.values.tolist(), strict=True)
    ]


def _gates(
    path: PathVectors, classes: Tensor, evidence: PathEvidence, class_names: Sequence[str]
) -> list[tuple[ExplainedGate, ...]]:
    """Those that add to the distance, most first."""
    layout = path.layout
    most = evidence.contributions.topk(min(_MOST, layout.gates), dim=1)
    columns = (
        most.values,
        path.bits.gather(1, most.indices),
        evidence.open_shares.gather(1, most.indices),
        path.activations.gather(1, most.indices),
        evidence.usual_activations.gather(1, most.indices),
    )
    facts = torch.stack([column.double() for column in columns], dim=2)  # (B, N, 5)
    return [
        tuple(
            _gate(layout.place(gate), tuple(of_gate), class_names[label])
            for gate, of_gate in zip(gates, of_image, strict=True)
            if of_gate[0] > 0
        )
        for gates, of_image, label in zip(
            most.indices.tolist(), facts.tolist(), classes.tolist(), strict=True
        )
    ]


def _gate(place: tuple[str, int], facts: tuple[float, ...], label: str) -> ExplainedGate:
    """One gate in words: its state where that is rare, or else how much comes through it."""
    layer, number = place
    contribution, is_open, share, activation, usual = facts
    state, alike = ("open", share) if is_open else ("closed", 1 - share)
    of_class = f"of clean images predicted as {label}"
    if alike < _RARE:
        clause = f"is {state}; it is open in {_per_cent(share)} {of_class}."
    else:
        clause = (
            f"is {state}, as in {_per_cent(alike)} {of_class}; "
            f"its mean activation is {activation:.2f}, theirs is {usual:.2f}."
        )
    return ExplainedGate(
        layer=layer,
        filter=number,
        is_open=bool(is_open),
        open_share=share,
        activation=activation,
        usual_activation=usual,
        contribution=contribution,
        sentence=f"Filter {number} of {layer} {clause}",
    )


def _per_cent(share: float) -> str:
    """In whole per cent, but neither none nor all where it is neither."""
    if share < 0.01:
        return "less than 1 %"
    return "more than 99 %" if share > 0.99 else f"{100 * share:.0f} %"


def _rivals(classes: Tensor, evidence: PathEvidence, class_names: Sequence[str]) -> list[Rival]:
    rivals, margins = evidence.rivals.tolist(), evidence.margins.tolist()
    return [
        Rival(
            index=index,
            label=class_names[index],
            margin=margin,
            sentence=f"Of the other classes the path fits {class_names[index]} best, "
            f"{'better' if margin > 0 else 'less well'} than {class_names[own]}, "
            "which is predicted.",
        )
        for own, index, margin in zip(classes.tolist(), rivals, margins, strict=True)
    ]
