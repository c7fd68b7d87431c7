"""Whether a verdict would be the same if the machine had rounded otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from detector.conformal import ConformalTable
from detector.decoupling import Binariser
from detector.pipeline.device_noise import DeviceNoise
from detector.scoring import Observation

__all__ = ["ForcedGates", "Rejudged", "Steadiness", "examine"]

_MOST_TRIED = 3
"""Unstable gates of an image of which every combination is tried: seven passes at most."""


@dataclass(frozen=True, slots=True)
class ForcedGates(Binariser):
    """Some gates of some images are set, the others decide as ever.

    Args:
        forced: Which, bool of shape (B, G).
        open_gates: What those are set to, bool of shape (B, G).
    """

    forced: Tensor
    open_gates: Tensor

    @override
    def __call__(self, logits: Tensor, gates: slice) -> Tensor:
        return self.bits(logits, gates).to(logits.dtype)

    def bits(self, logits: Tensor, gates: slice) -> Tensor:
        """Which gates are open, bool of shape (B, C)."""
        return torch.where(self.forced[:, gates], self.open_gates[:, gates], logits > 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejudged:
    """What images came to with some of their gates set.

    Args:
        scores: Shape (R,).
        predicted: Predicted classes, shape (R,).
    """

    scores: Tensor
    predicted: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Steadiness:
    """What rounding may change about the images of a batch.

    A gate is *unstable* where its logit lies within the device's noise of zero: another machine may
    find it on the other side. Up to three such gates of an image, its copies included, are tried
    in every combination, by running the network again on this image alone. The score's range goes
    from the least to the greatest of these scores, each with the score's own noise. Where a
    combination predicts another class, or there are too many, nothing bounds it.

    Args:
        unstable_gates: Number of unstable gates of each image and its copies, int64 of shape (B,).
        least_p_values: p-value at the upper end of the score's range, float64 of shape (B,).
        greatest_p_values: p-value at its lower end, float64 of shape (B,).
    """

    unstable_gates: Tensor
    least_p_values: Tensor
    greatest_p_values: Tensor


def examine(
    seen: Observation,
    scores: Tensor,
    noise: DeviceNoise,
    *,
    score_noise: float,
    conformal: ConformalTable,
    again: Callable[[int, ForcedGates], Rejudged],
) -> Steadiness:
    """Find the unstable gates of a batch and what hangs on them.

    Args:
        seen: What the network told about images and copies.
        scores: Their scores, in main memory, shape (B,).
        noise: The device's noise, where the observation is.
        score_noise: The noise of a score.
        conformal: Calibration of the level.
        again: Runs one image of the batch, by its row, with its gates set; as many times as
            `ForcedGates` has rows, those of the image first and then those of each copy.
    """
    passes = [seen, *seen.copies.values()]
    unstable = torch.stack([each.path.logits.abs() <= noise.gates for each in passes], dim=1)
    counts = unstable.sum(dim=(1, 2)).cpu()  # (B,), of (B, P, G)
    predicted = seen.predicted.cpu()
    low, high = scores - score_noise, scores + score_noise
    for row in counts.nonzero().flatten().tolist():
        if counts[row] > _MOST_TRIED:
            low[row], high[row] = -torch.inf, torch.inf
            continue
        bits = torch.stack([each.path.bits[row] for each in passes])  # (P, G)
        found = again(row, _all_combinations(unstable[row], bits))
        if bool((found.predicted != predicted[row]).any()):
            low[row], high[row] = -torch.inf, torch.inf
        else:
            low[row] = torch.minimum(low[row], found.scores.min() - score_noise)
            high[row] = torch.maximum(high[row], found.scores.max() + score_noise)
    return Steadiness(
        unstable_gates=counts,
        least_p_values=_p_values(conformal, high, predicted),
        greatest_p_values=_p_values(conformal, low, predicted),
    )


def _all_combinations(unstable: Tensor, bits: Tensor) -> ForcedGates:
    """Every setting of an image's unstable gates but the one it was found with.

    Args:
        unstable: bool of shape (P, G).
        bits: What was found, bool of shape (P, G).
    """
    places = unstable.flatten().nonzero().flatten()  # (k,)
    rows = 2 ** len(places) - 1
    flips = torch.arange(1, rows + 1, device=bits.device).unsqueeze(1)
    flips = (flips >> torch.arange(len(places), device=bits.device)) & 1  # (R, k)
    opened = bits.flatten().repeat(rows, 1)  # (R, P G)
    opened[:, places] ^= flips.bool()
    shape = (rows, *bits.shape)

    def by_pass(values: Tensor) -> Tensor:
        return values.view(shape).transpose(0, 1).flatten(0, 1)  # (P R, G)

    return ForcedGates(
        by_pass(unstable.flatten().repeat(rows, 1)),
        by_pass(opened),
    )


def _p_values(conformal: ConformalTable, scores: Tensor, predicted: Tensor) -> Tensor:
    """As the table gives them, at the ends of the range without bounds too."""
    largest = torch.finfo(torch.float32).max
    return conformal.p_values(
        torch.where(scores.isnan(), scores, scores.clamp(-largest, largest)), predicted
    )
