"""Whether a verdict would be the same if the machine had rounded otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations, product

import torch
from torch import Tensor

from detector.conformal import ConformalTable
from detector.decoupling import ForcedGates
from detector.pipeline.device_noise import DeviceNoise
from detector.scoring import Observation

__all__ = ["Rejudged", "Steadiness", "Variants", "examine"]

_MOST_TRIED = 3
"""Unstable gates of an image of which every combination is tried: seven scores at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variants:
    """Passes of the network that are run again, with some of their gates the other way.

    Args:
        rows: Which image of the batch each is a pass of, int64 of shape (V,).
        passes: Which pass of it: 0 is the image itself, then its copies in their order; V of them.
        gates: What their unstable gates are set to, V rows.
    """

    rows: Tensor
    passes: tuple[int, ...]
    gates: ForcedGates


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
    in every combination; all passes that this takes are one more batch of the network. The score's
    range goes from the least to the greatest of these scores, each with the score's own noise.
    Where a combination predicts another class, or there are too many, nothing bounds it.

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
    run: Callable[[Variants], Observation],
    judge: Callable[[Observation], Rejudged],
) -> Steadiness:
    """Find the unstable gates of a batch and what hangs on them.

    Args:
        seen: What the network told about images and copies.
        scores: Their scores, in main memory, shape (B,).
        noise: The device's noise, where the observation is.
        score_noise: The noise of a score.
        conformal: Calibration of the level.
        run: Runs passes of the network again, V of them, each without copies.
        judge: Scores what was observed, copies included.
    """
    passes = [seen, *seen.copies.values()]
    unstable = torch.stack([each.path.logits.abs() <= noise.gates for each in passes], dim=1)
    counts = unstable.sum(dim=(1, 2)).cpu()  # (B,), of (B, P, G)
    predicted = seen.predicted.cpu()
    low, high = scores - score_noise, scores + score_noise
    unbounded = counts > _MOST_TRIED
    tried = ((counts > 0) & ~unbounded).nonzero().flatten()
    if len(tried):
        trials = _trials(seen, unstable, tried.tolist())
        found = judge(trials.observation(seen, run(trials.variants)))
        rows = trials.rows.cpu()
        unbounded[rows[found.predicted != predicted[rows]]] = True
        low = low.scatter_reduce(0, rows, found.scores - score_noise, "amin")
        high = high.scatter_reduce(0, rows, found.scores + score_noise, "amax")
    return Steadiness(
        unstable_gates=counts,
        least_p_values=_p_values(conformal, high.masked_fill(unbounded, torch.inf), predicted),
        greatest_p_values=_p_values(conformal, low.masked_fill(unbounded, -torch.inf), predicted),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trials:
    """Every other way in which rounding could have set the gates of some images.

    Args:
        variants: The passes that take part, V of them.
        rows: Which image of the batch each of R trials is about, int64 of shape (R,).
        chosen: Which pass each trial takes, (R, P): of B + V, those that were found and then the
            variants.
    """

    variants: Variants
    rows: Tensor
    chosen: Tensor

    def observation(self, seen: Observation, again: Observation) -> Observation:
        """What the network tells in each trial, of R rows with their copies.

        Args:
            seen: What it told about the batch.
            again: What it told about the variants.
        """
        own, *copies = (
            Observation.concatenate([replace(each, copies={}), again])[self.chosen[:, place]]
            for place, each in enumerate([seen, *seen.copies.values()])
        )
        return replace(own, copies=dict(zip(seen.copies, copies, strict=True)))


def _trials(seen: Observation, unstable: Tensor, tried: list[int]) -> _Trials:
    """What has to be run and scored for some images, each with few unstable gates.

    Args:
        seen: What the network told about the batch.
        unstable: Which gates are unstable, bool of shape (B, P, G).
        tried: The images, at least one.
    """
    batch, count, _ = unstable.shape
    # Fetched once: each question to the device would have to wait for it.
    gates_of: dict[tuple[int, int], list[int]] = {}
    for index, place, gate in unstable[tried].nonzero().tolist():
        gates_of.setdefault((tried[index], place), []).append(gate)
    passes: list[tuple[int, int]] = []  # row and pass of each variant
    flips: list[tuple[int, int]] = []  # variant and gate
    trials: list[tuple[int, ...]] = []
    rows: list[int] = []
    for row in tried:
        ways: list[list[int]] = []  # for each pass of this image: as found, then its variants
        for place in range(count):
            first = batch + len(passes)
            for flipped in _subsets(gates_of.get((row, place), [])):
                flips += [(len(passes), gate) for gate in flipped]
                passes.append((row, place))
            ways.append([row, *range(first, batch + len(passes))])
        others = list(product(*ways))[1:]  # the first is what was found
        trials += others
        rows += [row] * len(others)
    on = unstable.device
    run_rows, run_passes = torch.tensor(passes, device=on).unbind(dim=1)
    variant, gate = torch.tensor(flips, device=on).unbind(dim=1)
    bits = torch.stack([each.path.bits for each in (seen, *seen.copies.values())], dim=1)
    opened = bits[run_rows, run_passes]
    opened[variant, gate] ^= True
    return _Trials(
        variants=Variants(
            rows=run_rows,
            passes=tuple(place for _, place in passes),
            gates=ForcedGates(unstable[run_rows, run_passes], opened),
        ),
        rows=torch.tensor(rows, device=on),
        chosen=torch.tensor(trials, device=on),
    )


def _subsets(gates: list[int]) -> list[list[int]]:
    """Every selection of some gates but the empty one."""
    sizes = range(1, len(gates) + 1)
    return [list(chosen) for size in sizes for chosen in combinations(gates, size)]


def _p_values(conformal: ConformalTable, scores: Tensor, predicted: Tensor) -> Tensor:
    """As the table gives them, at the ends of the range without bounds too."""
    largest = torch.finfo(torch.float32).max
    return conformal.p_values(
        torch.where(scores.isnan(), scores, scores.clamp(-largest, largest)), predicted
    )
