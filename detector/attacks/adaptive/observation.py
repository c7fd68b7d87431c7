"""What the network tells about images, with gradients for an attacker and without for a judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detector.attacks.adaptive.copies import eight_bits, through_copy
from detector.attacks.adaptive.target import Target
from detector.copies import parse_copy
from detector.decoupling import Binariser, DecoupledOutput, Frozen
from detector.devices import exact_32_bit
from detector.paths import PathVectors
from detector.scoring.observation import Observation

__all__ = ["Judgement", "hardened", "judge", "judge_wrong", "judged", "observe"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What the detector says about images, with hard gates.

    Args:
        class_logits: Unnormalised class scores, shape (B, K).
        scores: Higher is more suspicious, shape (B,); infinite where it was not asked for.
    """

    class_logits: Tensor
    scores: Tensor

    @property
    def predicted(self) -> Tensor:
        """Predicted class of each image, int64 of shape (B,)."""
        return self.class_logits.argmax(dim=1)


def observe(
    target: Target, images: Tensor, way: Binariser, *, copies: Sequence[str] | None = None
) -> Observation:
    """The detector's view of images and of their copies, differentiable, in one forward pass.

    Images are rounded to 8 bits on the way, as they will be when the detector sees them. Through
    hard gates the values are therefore exactly the detector's own; relaxed gates compute, and
    report as bits, ``sigmoid(y / T)``.

    Args:
        target: What is attacked.
        images: Floats in [0, 1] of shape (B, 3, H, W), on the network's device.
        way: How gradients pass the gates: `StraightThrough`, `Relaxed` or `Frozen`.
        copies: Names of the copies; those of the target by default.
    """
    names = target.copies if copies is None else tuple(copies)
    rounded = eight_bits(images)
    seen = [rounded, *(through_copy(parse_copy(name), rounded) for name in names)]
    # In the layout in which the service computes: another one would round another way.
    batch = target.preprocessing.normalise(torch.cat(seen)).contiguous(
        memory_format=torch.channels_last
    )
    with target.network.gradients(way), exact_32_bit(batch.device):
        output: DecoupledOutput = target.network(batch)
    path, rows = _path(output), len(images)
    parts = [
        Observation(
            path=path[start : start + rows], class_logits=output.class_logits[start : start + rows]
        )
        for start in range(0, len(batch), rows)
    ]
    return Observation(
        path=parts[0].path,
        class_logits=parts[0].class_logits,
        copies=dict(zip(names, parts[1:], strict=True)),
    )


def hardened(seen: Observation) -> Observation:
    """The same without gradients, and with bits that are True or False."""
    path = seen.path
    return Observation(
        path=PathVectors(
            layout=path.layout,
            bits=path.logits.detach() > 0,
            logits=path.logits.detach(),
            activations=path.activations.detach(),
        ),
        class_logits=seen.class_logits.detach(),
        copies={name: hardened(copy) for name, copy in seen.copies.items()},
    )


def judged(target: Target, seen: Observation) -> Judgement:
    """The detector's judgement of what was seen through hard gates."""
    with torch.no_grad():
        still = hardened(seen)
        scores = target.score(still)
    return Judgement(class_logits=still.class_logits, scores=scores)


@torch.no_grad()
def judge(target: Target, images: Tensor) -> Judgement:
    """The detector's judgement of 8-bit images.

    Args:
        target: What is attacked, held still.
        images: uint8 images of shape (B, 3, H, W), on the network's device.
    """
    scaled = target.preprocessing.scale(images)
    return judged(target, observe(target, scaled, Frozen()))


@torch.no_grad()
def judge_wrong(target: Target, images: Tensor, labels: Tensor) -> Judgement:
    """As `judge`, but copies and scores are computed for misclassified images only.

    Args:
        target: What is attacked, held still.
        images: uint8 images of shape (B, 3, H, W), on the network's device.
        labels: True classes, int64 of shape (B,).
    """
    scaled = target.preprocessing.scale(images)
    logits = observe(target, scaled, Frozen(), copies=()).class_logits
    wrong = torch.nonzero(logits.argmax(dim=1) != labels).flatten()
    scores = torch.full_like(logits[:, 0], torch.inf)
    if len(wrong):
        found = judge(target, images[wrong])
        scores[wrong] = found.scores.to(scores.dtype)
        # Another batch can round another way: class and score are to come from one pass.
        logits[wrong] = found.class_logits
    return Judgement(class_logits=logits, scores=scores)


def _path(output: DecoupledOutput) -> PathVectors:
    """The paths with the gates' own values for bits, whose gradient is the way's."""
    return PathVectors(
        layout=output.layout,
        bits=torch.cat([record.values for record in output.records], dim=1),
        logits=torch.cat([record.logits for record in output.records], dim=1),
        activations=torch.cat([record.values * record.pooled for record in output.records], dim=1),
    )
