r"""The smallest combination of gates that stands for a concept, beside the best single gate.

Gates that tell of a class are mostly not those that it hangs on: many say the same, and whichever
is closed, the others do its work. So a combination is not looked for by what it tells alone. Where
it is known what closing a gate costs, an open gate counts for

.. math:: \text{balanced accuracy} + w \, \max(c, 0)

with the nats c that closing it takes from the images with the concept, and w = 0.2 for each nat;
but only if these images open it more often than others do, by five points at least.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.errors import DataError
from detector.jobs.evaluation.estimates import Estimate, Share
from detector.jobs.interpretation.concepts import Concept
from detector.jobs.interpretation.rules import Rule, best_single, grow_rules, in_words
from detector.jobs.interpretation.sample import PathSample
from detector.paths import PathLayout

__all__ = ["CheckedRule", "Combination", "RuleGate", "find_combination"]


_WORTH = 0.2
"""Balanced accuracy that a nat is worth.

For 0, .1, .2 and .3 the combinations of the bundled default had .873, .878, .875 and .865 on 3 500
held-out images, and closing them cost a class 0, 14, 38 and 49 points: at .1 one class still lost
next to nothing, at .3 what gates tell began to suffer.
"""

_MORE_OFTEN = 0.05
"""By so much more often than others should images with a concept open a gate that counts as its
cause: what all images open alike stands for none of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleGate:
    """A gate of a rule, by its name.

    Args:
        layer: Name of its layer.
        filter: Index of its filter within the layer, from 0.
        is_open: Whether it speaks for the concept where it is open.
    """

    layer: str
    filter: int
    is_open: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedRule:
    """A rule, and how often it is right about images that it was not found with.

    Args:
        gates: Its gates, the one that was chosen first at the head.
        at_least: How many of them have to be in their states.
        recall: Share of images with the concept for which it holds.
        specificity: Share of the others for which it does not.
        precision: Share of images for which it holds that have the concept; None where it holds
            for none.
        balanced_accuracy: Mean of recall and specificity.
    """

    gates: tuple[RuleGate, ...]
    at_least: int
    recall: Share
    specificity: Share
    precision: Share | None
    balanced_accuracy: Estimate

    @property
    def sentence(self) -> str:
        """The rule in plain words."""
        states = [
            f"{gate.layer}:{gate.filter} {'open' if gate.is_open else 'closed'}"
            for gate in self.gates
        ]
        return in_words(states, self.at_least)


@dataclass(frozen=True, kw_only=True, slots=True)
class Combination:
    """What stands for a concept.

    Args:
        concept: Its name.
        members: Number of images with it among those that rules are found with.
        combination: The combination of gates.
        single: The best single gate.
    """

    concept: str
    members: int
    combination: CheckedRule
    single: CheckedRule

    @property
    def beats_single(self) -> bool:
        """Whether the combination is better than the gate, the intervals apart."""
        ours, theirs = self.combination.balanced_accuracy, self.single.balanced_accuracy
        return ours.low > theirs.high


def find_combination(
    concept: Concept,
    learn: PathSample,
    check: PathSample,
    *,
    most_gates: int,
    seed: int,
    causes: NDArray[np.float64] | None = None,
) -> Combination:
    """Find rules on some images and check them on others.

    Rules grow on one half of the images to learn from. Of these the smallest is taken that on the
    other half is within one standard error of the best, the worth of its causes included.

    Args:
        concept: What they should stand for.
        learn: Images that rules are found with.
        check: Other images.
        most_gates: Gates of the largest rule, positive.
        seed: Seed of the halves.
        causes: What closing each gate costs images with the concept, nats, of shape (G,), as
            `concept_causes` finds it with images to learn from; without, nothing counts but what
            gates tell.

    Raises:
        DataError: If too few images have the concept, or have it not.

    Reference:
        Breiman et al., "Classification and Regression Trees", 1984, section 3.4.3: the rule of one
        standard error.
    """
    bits, members = _known(concept, learn, least=2)
    check_bits, check_members = _known(concept, check, least=1)
    grown = _half(members, np.random.default_rng(seed))
    worth = _worth(bits[grown], members[grown], causes)
    rules = grow_rules(bits[grown], members[grown], most=most_gates, worth=worth)
    chosen = _smallest(rules, bits[~grown], members[~grown], worth)
    single = best_single(bits[grown], members[grown])
    return Combination(
        concept=concept.name,
        members=int(members.sum()),
        combination=_checked(chosen, check_bits, check_members, learn.layout),
        single=_checked(single, check_bits, check_members, learn.layout),
    )


def _worth(
    bits: NDArray[np.bool_], members: NDArray[np.bool_], causes: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """What each open gate is worth as a cause, in balanced accuracy, shape (G,)."""
    if causes is None:
        return np.zeros(bits.shape[1])
    more_often = bits[members].mean(axis=0) - bits[~members].mean(axis=0)
    worth: NDArray[np.float64] = np.where(
        more_often >= _MORE_OFTEN, _WORTH * np.maximum(causes, 0), 0.0
    )
    return worth


def _known(
    concept: Concept, sample: PathSample, *, least: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    marks = concept.marks(sample)
    members = marks.members[marks.known]
    having, others = int(members.sum()), int((~members).sum())
    if min(having, others) < least:
        raise DataError(
            f"At least {least} {sample.split} images should have the concept {concept.name!r}, and "
            f"as many not. Found {having} and {others}. Name or extract more images."
        )
    return sample.bits[marks.known], members


def _half(members: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.bool_]:
    """Half of the images with the concept, and half of those without it, at random."""
    chosen = np.zeros(len(members), dtype=np.bool_)
    for side in (members, ~members):
        chosen[generator.permutation(np.flatnonzero(side))[::2]] = True
    return chosen


def _smallest(
    rules: tuple[Rule, ...],
    bits: NDArray[np.bool_],
    members: NDArray[np.bool_],
    worth: NDArray[np.float64],
) -> Rule:
    """The smallest rule that is within one standard error of the best."""
    recalls = [float(rule.holds(bits[members]).mean()) for rule in rules]
    specificities = [1 - float(rule.holds(bits[~members]).mean()) for rule in rules]
    merits = [
        (recall + specificity) / 2 + sum(worth[each.gate] for each in rule.states if each.is_open)
        for rule, recall, specificity in zip(rules, recalls, specificities, strict=True)
    ]
    best = int(np.argmax(merits))
    error = 0.5 * math.sqrt(
        recalls[best] * (1 - recalls[best]) / members.sum()
        + specificities[best] * (1 - specificities[best]) / (~members).sum()
    )
    return next(
        rule for rule, merit in zip(rules, merits, strict=True) if merit >= merits[best] - error
    )


def _checked(
    rule: Rule, bits: NDArray[np.bool_], members: NDArray[np.bool_], layout: PathLayout
) -> CheckedRule:
    holds = rule.holds(bits)
    recall = Share.of(int(holds[members].sum()), int(members.sum()))
    specificity = Share.of(int((~holds[~members]).sum()), int((~members).sum()))
    return CheckedRule(
        gates=tuple(_named(state.gate, state.is_open, layout) for state in rule.states),
        at_least=rule.at_least,
        recall=recall,
        specificity=specificity,
        precision=Share.of_flags(members[holds]),
        balanced_accuracy=_mean_of(recall.estimate, specificity.estimate),
    )


def _named(gate: int, is_open: bool, layout: PathLayout) -> RuleGate:  # noqa: FBT001 - a state
    layer, number = layout.place(gate)
    return RuleGate(layer=layer, filter=number, is_open=is_open)


def _mean_of(first: Estimate, second: Estimate) -> Estimate:
    r"""The mean of two independent figures, from the intervals of both.

    Reference:
        Zou and Donner, "Construction of confidence limits about effect measures", 2008.
    """
    value = (first.value + second.value) / 2
    below = math.hypot(first.value - first.low, second.value - second.low) / 2
    above = math.hypot(first.high - first.value, second.high - second.value) / 2
    return Estimate(value=value, low=value - below, high=value + above)
