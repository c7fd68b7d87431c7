"""Explanations as messages: as much of them as a caller has the rights to."""

from __future__ import annotations

from offpath.v1 import detection_pb2 as pb

from detector.explanation import ExplainedGate, Explanation, NearImage, Rival
from service.security.principal import Right

__all__ = ["encode_explanation"]


def encode_explanation(explanation: Explanation, rights: frozenset[Right]) -> pb.Explanation:
    """One explanation as a message.

    Gates tell of the path, and distances climb as the score does: each needs that right as well.

    Args:
        explanation: What the path says.
        rights: The caller's, `Right.EXPLANATION` among them.
    """
    exact = Right.SCORE in rights
    return pb.Explanation(
        distance=explanation.distance if exact else None,
        layers=[
            pb.ExplainedLayer(name=each.name, contribution=each.contribution if exact else None)
            for each in explanation.layers
        ],
        gates=[_gate(each, exact=exact) for each in explanation.gates]
        if Right.PATH in rights
        else [],
        rival=_rival(explanation.rival, exact=exact),
        neighbours=[_neighbour(each, exact=exact) for each in explanation.neighbours],
        parts=[
            pb.ScorePart(
                name=each.name,
                surprisal=each.surprisal if exact else None,
                sentence=each.sentence,
            )
            for each in explanation.parts
        ],
    )


def _gate(gate: ExplainedGate, *, exact: bool) -> pb.ExplainedGate:
    return pb.ExplainedGate(
        layer=gate.layer,
        filter=gate.filter,
        is_open=gate.is_open,
        open_share=gate.open_share,
        activation=gate.activation,
        usual_activation=gate.usual_activation,
        contribution=gate.contribution if exact else None,
        sentence=gate.sentence,
    )


def _rival(rival: Rival, *, exact: bool) -> pb.Rival:
    return pb.Rival(
        index=rival.index,
        label=rival.label,
        margin=rival.margin if exact else None,
        sentence=rival.sentence,
    )


def _neighbour(image: NearImage, *, exact: bool) -> pb.NearImage:
    return pb.NearImage(
        image=image.image,
        index=image.index,
        label=image.label,
        differing=image.differing if exact else None,
    )
