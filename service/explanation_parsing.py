"""Explanations out of messages, for clients."""

from __future__ import annotations

from offpath.v1 import detection_pb2 as pb

from detector.explanation import (
    ExplainedGate,
    ExplainedLayer,
    Explanation,
    NearImage,
    Rival,
    ScorePart,
)

__all__ = ["parse_explanation"]


def parse_explanation(detection: pb.Detection) -> Explanation | None:
    """The explanation in a detection, where there is one."""
    if not detection.HasField("explanation"):
        return None
    message = detection.explanation
    return Explanation(
        distance=message.distance if message.HasField("distance") else None,
        layers=tuple(_layer(each) for each in message.layers),
        gates=tuple(_gate(each) for each in message.gates),
        rival=_rival(message.rival),
        neighbours=tuple(_neighbour(each) for each in message.neighbours),
        parts=tuple(_part(each) for each in message.parts),
    )


def _part(part: pb.ScorePart) -> ScorePart:
    return ScorePart(
        name=part.name,
        surprisal=part.surprisal if part.HasField("surprisal") else None,
        sentence=part.sentence,
    )


def _layer(layer: pb.ExplainedLayer) -> ExplainedLayer:
    return ExplainedLayer(
        name=layer.name,
        contribution=layer.contribution if layer.HasField("contribution") else None,
    )


def _gate(gate: pb.ExplainedGate) -> ExplainedGate:
    return ExplainedGate(
        layer=gate.layer,
        filter=gate.filter,
        is_open=gate.is_open,
        open_share=gate.open_share,
        activation=gate.activation,
        usual_activation=gate.usual_activation,
        contribution=gate.contribution if gate.HasField("contribution") else None,
        sentence=gate.sentence,
    )


def _rival(rival: pb.Rival) -> Rival:
    return Rival(
        index=rival.index,
        label=rival.label,
        margin=rival.margin if rival.HasField("margin") else None,
        sentence=rival.sentence,
    )


def _neighbour(image: pb.NearImage) -> NearImage:
    return NearImage(
        image=image.image,
        index=image.index,
        label=image.label,
        differing=image.differing if image.HasField("differing") else None,
    )
