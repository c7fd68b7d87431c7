"""Rules about which filters are lit in a pixel, and what they cover of a concept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.jobs.evaluation.estimates import Estimate

__all__ = ["Cover", "PixelRule", "PixelSums", "grow_rule"]

_GAIN = 0.005
"""A further filter should add so much to the IoU: less is what chance adds to the best of many."""

_RESAMPLES = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelRule:
    """Some of a concept's filters, by their bits, and how many of them have to be lit."""

    bits: tuple[int, ...]
    at_least: int

    def takes(self, size: int) -> NDArray[np.bool_]:
        """Of which patterns it takes the pixels, shape (size,)."""
        patterns = np.arange(size)[:, None] >> np.array(self.bits)
        taken: NDArray[np.bool_] = (patterns & 1).sum(axis=1) >= self.at_least
        return taken


@dataclass(frozen=True, kw_only=True, slots=True)
class Cover:
    """How well the pixels that a rule takes cover a concept.

    Counts of pixels are summed over images before they are divided.

    Args:
        iou: Pixels that are taken and have the concept, by pixels that are or have.
        precision: Share of the pixels taken that have the concept; None where none is taken.
        recall: Share of the pixels with the concept that are taken.
    """

    iou: Estimate
    precision: Estimate | None
    recall: Estimate


def grow_rule(counts: NDArray[np.int64], most: int) -> PixelRule:
    """The best filter, and others for as long as they add to the IoU.

    Args:
        counts: Pixels of each pattern outside of the concept and within it, shape (2^F, 2).
        most: Most filters.
    """
    size, concept = len(counts), counts[:, 1].sum()

    def iou(rule: PixelRule) -> float:
        outside, within = counts[rule.takes(size)].sum(axis=0)
        return float(within / (outside + concept))

    best = PixelRule(bits=(0,), at_least=1)
    reached, bits = iou(best), size.bit_length() - 1
    while len(best.bits) < min(most, bits):
        larger = [
            PixelRule(bits=(*best.bits, bit), at_least=least)
            for bit in range(bits)
            if bit not in best.bits
            for least in range(1, len(best.bits) + 2)
        ]
        chosen = max(larger, key=iou)
        if iou(chosen) < reached + _GAIN:
            break
        best, reached = chosen, iou(chosen)
    return best


class PixelSums:
    """Sums of pixels over images, beside those of resamples, which need no image again.

    Args:
        rules: For each concept its rules, as many for each.
        size: Number of patterns.
        seed: Seed of the resamples.

    Reference:
        Chamandy et al., "Estimating Uncertainty for Massive Data Streams", Google technical
        report, 2012: the bootstrap whose weights are drawn from a Poisson distribution.
    """

    def __init__(self, rules: Sequence[Sequence[PixelRule]], size: int, seed: int) -> None:
        self._rules = rules
        self._takes = np.array([[rule.takes(size) for rule in each] for each in rules])  # (K, R, P)
        self._generator = np.random.default_rng(seed)
        # The first row is of the images themselves; last axis: taken and concept, taken, concept.
        self._sums = np.zeros((1 + _RESAMPLES, len(rules), len(rules[0]), 3), dtype=np.int64)

    def add(self, counts: NDArray[np.int64]) -> None:
        """Count an image, given its pixels, (K, P, 2)."""
        outside, within = np.moveaxis(self._takes @ counts, -1, 0)  # (K, R)
        concept = np.broadcast_to(counts[:, :, 1].sum(axis=1)[:, None], within.shape)
        figures = np.stack([within, outside + within, concept], axis=-1)
        weights = np.ones(1 + _RESAMPLES, dtype=np.int64)
        weights[1:] = self._generator.poisson(1.0, size=_RESAMPLES)
        self._sums += weights[:, None, None, None] * figures

    def covered(self, concept: int, rule: int) -> Cover:
        """What a rule covers of a concept."""
        within, taken, having = np.moveaxis(self._sums[:, concept, rule], -1, 0)
        return Cover(
            iou=_estimate(self._iou(concept, rule)),
            precision=_estimate(_ratio(within, taken)) if taken[0] else None,
            recall=_estimate(_ratio(within, having)),
        )

    def gain(self, concept: int) -> Estimate:
        """IoU of the first rule less that of the second."""
        return _estimate(self._iou(concept, 0) - self._iou(concept, 1))

    def _iou(self, concept: int, rule: int) -> NDArray[np.float64]:
        within, taken, having = np.moveaxis(self._sums[:, concept, rule], -1, 0)
        return _ratio(within, taken + having - within)


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Shares; of resamples without any such pixel no number, which is left out of the interval."""
    with np.errstate(invalid="ignore"):
        return part / whole


def _estimate(values: NDArray[np.float64]) -> Estimate:
    """The first value, with the interval of the others."""
    return Estimate.of_replicates(float(values[0]), values[1:])
