"""Cause, not only correlation: what a network loses when the gates of a concept are closed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from detector.decoupling import DecoupledNetwork, ForcedGates
from detector.devices import exact_32_bit
from detector.jobs.evaluation.estimates import Estimate, Share, difference_of
from detector.jobs.interpretation.combinations import Combination, RuleGate
from detector.jobs.interpretation.concepts import Concept
from detector.jobs.interpretation.resamples import resample_weights
from detector.jobs.interpretation.sample_images import SampleImages

__all__ = ["TIMES", "Closing", "GateCloser"]

TIMES = 5
"""So many times the harm of random gates should the gates of a concept do to it."""

_BATCH = 250
_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Closing:
    """What closing the gates of a concept does to the accuracy of the network.

    Harms are shares of images: of those that are classified wrong only now, less those that are
    right only now. That of random gates has its interval from resampling images and choices.

    Args:
        concept: Name of the concept.
        gates: The gates that were closed: those of its combination that speak for it by being open.
        images: Number of images with the concept.
        others: Number of images without it.
        harm: What those with the concept lose.
        harm_to_others: What the others lose.
        random_harm: What those with the concept lose when as many gates of the same layers are
            closed that were drawn at random among all that are ever open.
        draws: Number of such draws.
        ratio: Harm by random harm; None where random gates do no harm.
        beyond: Harm less five times the random harm: above 0, the gates do more than five times
            what chance does.
    """

    concept: str
    gates: tuple[RuleGate, ...]
    images: int
    others: int
    harm: Estimate
    harm_to_others: Estimate
    random_harm: Estimate
    draws: int
    ratio: float | None
    beyond: Estimate

    @property
    def holds(self) -> bool:
        """Whether its gates hurt a concept, and at least five times as much as random ones."""
        return self.harm.value > 0 and self.beyond.value >= 0


class GateCloser:
    """Closes gates of a network and counts what is still classified right.

    Args:
        network: The network, in evaluation mode.
        images: The images, with their paths.
        limit: Most images with a concept, and most without it, that are looked at.
        draws: Number of random choices of gates, at least 2.
        seed: Seed of images, choices and resamples.
        done: Told how many images the network has looked at.
    """

    def __init__(
        self,
        network: DecoupledNetwork,
        images: SampleImages,
        *,
        limit: int,
        draws: int,
        seed: int,
        done: Callable[[int], None],
    ) -> None:
        self._network = network
        self._images = images
        self._sample = images.sample
        self._limit = limit
        self._draws = draws
        self._generator = np.random.default_rng(seed)
        self._done = done
        self._ever_open: NDArray[np.bool_] = np.logical_or.reduce(images.sample.bits)  # (G,)

    def close(self, concept: Concept, found: Combination) -> Closing | None:
        """Close the gates of a concept, and random ones.

        Args:
            concept: The concept.
            found: What stands for it.

        Returns:
            None where all gates of its combination speak for it by being closed.
        """
        gates = tuple(gate for gate in found.combination.gates if gate.is_open)
        if not gates:
            return None
        having = self._images.having(concept, self._limit, self._generator)
        others = self._images.lacking(concept, self._limit, self._generator)
        closed = self._indices(gates)
        none = np.zeros_like(closed)
        before, after = self._right(having, none), self._right(having, closed)
        before_others, after_others = self._right(others, none), self._right(others, closed)
        random = np.stack(
            [self._right(having, self._random(closed)) for _ in range(self._draws)]
        )  # (D, N)
        return self._summary(
            concept.name,
            gates,
            lost=before - after,
            lost_by_others=before_others - after_others,
            lost_at_random=before - random,
        )

    def _summary(
        self,
        name: str,
        gates: tuple[RuleGate, ...],
        *,
        lost: NDArray[np.float64],
        lost_by_others: NDArray[np.float64],
        lost_at_random: NDArray[np.float64],
    ) -> Closing:
        """Figures out of what each image lost: 1 where it was right before only, -1 after only."""
        images, draws = (
            resample_weights(size, _RESAMPLES, self._generator) for size in (len(lost), self._draws)
        )
        replicates = np.einsum("rd,dn,rn->r", draws, lost_at_random, images, optimize=True)
        harm = _harm(lost)
        random = Estimate.of_replicates(float(lost_at_random.mean()), replicates)
        return Closing(
            concept=name,
            gates=gates,
            images=len(lost),
            others=len(lost_by_others),
            harm=harm,
            harm_to_others=_harm(lost_by_others),
            random_harm=random,
            draws=self._draws,
            ratio=harm.value / random.value if random.value > 0 else None,
            beyond=difference_of(harm, _times(TIMES, random)),
        )

    def _indices(self, gates: Sequence[RuleGate]) -> NDArray[np.bool_]:
        layout = self._sample.layout
        closed = np.zeros(layout.gates, dtype=np.bool_)
        closed[[layout.gate(gate.layer, gate.filter) for gate in gates]] = True
        return closed

    def _random(self, closed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """As many gates of each layer, among those that are ever open."""
        chosen = np.zeros_like(closed)
        for part in self._sample.layout.slices:
            candidates = part.start + np.flatnonzero(self._ever_open[part] | closed[part])
            count = int(closed[part].sum())
            chosen[self._generator.choice(candidates, size=count, replace=False)] = True
        return chosen

    @torch.inference_mode()
    def _right(self, rows: NDArray[np.int64], closed: NDArray[np.bool_]) -> NDArray[np.float64]:
        """1 for each image that is classified right with some gates closed, else 0."""
        device = next(self._network.parameters()).device
        forced = torch.from_numpy(closed).to(device).unsqueeze(0)  # (1, G): for every image
        way = ForcedGates(forced, torch.zeros_like(forced))
        right = []
        for start in range(0, len(rows), _BATCH):
            some = rows[start : start + _BATCH]
            inputs = self._images.inputs(some, device)
            with self._network.gradients(way), exact_32_bit(device):
                predicted = self._network(inputs).class_logits.argmax(dim=1)
            right.append(predicted.cpu().numpy() == self._sample.labels[some])
            self._done(len(some))
        return np.concatenate(right).astype(np.float64)


def _harm(lost: NDArray[np.float64]) -> Estimate:
    """The mean of what each image lost; no resample would tell how little few images can tell."""
    worse, better = (Share.of(int((lost == side).sum()), len(lost)) for side in (1, -1))
    return difference_of(worse.estimate, better.estimate)


def _times(factor: float, estimate: Estimate) -> Estimate:
    return Estimate(
        value=factor * estimate.value, low=factor * estimate.low, high=factor * estimate.high
    )
