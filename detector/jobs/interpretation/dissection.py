"""Where concepts are in images: what lit filters, alone and together, cover of their masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from detector.decoupling import DecoupledNetwork
from detector.errors import DataError
from detector.jobs.evaluation.estimates import Estimate
from detector.jobs.interpretation.lit_filters import (
    LitFilter,
    best_filters,
    lit_patterns,
    top_thresholds,
)
from detector.jobs.interpretation.mask_file import MaskedImages
from detector.jobs.interpretation.pixel_rules import Cover, PixelRule, PixelSums, grow_rule
from detector.jobs.interpretation.rules import in_words
from detector.paths import PathLayout

__all__ = ["MOST_FILTERS", "PASSES", "Dissection", "PlacedFilter", "PlacedRule", "dissect"]

MOST_FILTERS = 12
"""Filters of a concept that combinations are made of: all their patterns are counted, 2^12."""

PASSES = 2
"""So often each image is looked at on average: three times in one half and once in the other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedFilter:
    """A filter by its name, and when it is lit.

    Args:
        layer: Name of its layer.
        filter: Index within the layer, from 0.
        top_share: Share of all places whose highest activations light it.
        threshold: The activation behind the gate above which it is lit.
    """

    layer: str
    filter: int
    top_share: float
    threshold: float

    @property
    def name(self) -> str:
        """The filter as ``layer:filter``."""
        return f"{self.layer}:{self.filter}"


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedRule:
    """Some filters, and how well the pixels where enough of them are lit cover a concept.

    A pixel is taken where at least so many of the filters are lit: one makes it the union of their
    maps, all make it their intersection. A filter whose gate is closed for an image lights nothing.

    Args:
        filters: The filters, the one that was chosen first at the head.
        at_least: How many of them have to be lit.
        cover: How well.
    """

    filters: tuple[PlacedFilter, ...]
    at_least: int
    cover: Cover

    @property
    def sentence(self) -> str:
        """The rule in plain words."""
        return in_words([each.name for each in self.filters], self.at_least)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dissection:
    """What covers a concept, found on one half of the masked images and measured on the other.

    Args:
        concept: Its name.
        learn_images: Number of images that filters were found with.
        check_images: Number of the others, which all figures are of.
        having: Number of these that have the concept.
        combination: The combination of filters.
        singles: The best single filters, the one that was the best to find with at the head.
        gain: IoU of the combination less that of the first single filter, on the same images.
    """

    concept: str
    learn_images: int
    check_images: int
    having: int
    combination: PlacedRule
    singles: tuple[PlacedRule, ...]
    gain: Estimate

    @property
    def beats_single(self) -> bool:
        """Whether the combination covers the concept better than the best filter does."""
        return self.gain.low > 0


def dissect(
    network: DecoupledNetwork,
    images: MaskedImages,
    *,
    most_filters: int,
    seed: int,
    done: Callable[[int], None],
) -> tuple[Dissection, ...]:
    """Find the filters whose lit places cover each concept, alone and together.

    A filter is lit where its map, gated and drawn bilinearly to the size of the input, exceeds a
    high quantile of its activations. The single filters with the greatest IoU are combined
    greedily: each time the filter and the number of filters that have to be lit are taken which
    have the greatest IoU together. Memory does not grow with the number of images.

    Args:
        network: The network, in evaluation mode.
        images: Images with masks.
        most_filters: Filters of the largest combination, positive; never more than `MOST_FILTERS`.
        seed: Seed of halves, sampled places and intervals.
        done: Told how many images were looked at.

    Raises:
        DataError: If a concept is in one half of the images alone.

    Reference:
        Bau et al., "Network Dissection: Quantifying Interpretability of Deep Visual
        Representations", CVPR 2017; Mu and Andreas, "Compositional Explanations of Neurons",
        NeurIPS 2020, for combinations of such maps.
    """
    learn, check = _halves(images, seed)
    thresholds = top_thresholds(network, images, learn, seed=seed, done=done)
    most = min(MOST_FILTERS, network.layout.gates)
    filters = best_filters(network, images, learn, thresholds, most=most, done=done)
    counts = sum(lit_patterns(network, images, learn, filters, done=done), np.zeros((), np.int64))
    single = [PixelRule(bits=(bit,), at_least=1) for bit in range(most)]
    rules = [(grow_rule(each, most_filters), *single) for each in counts]
    sums = PixelSums(rules, 2**most, seed)
    for image in lit_patterns(network, images, check, filters, done=done):
        sums.add(image)
    layout, places = network.layout, range(len(images.concepts))
    named = [[_named(each, layout) for each in chosen] for chosen in filters]
    covers = [
        [_placed(rule, named[k], sums.covered(k, place)) for place, rule in enumerate(rules[k])]
        for k in places
    ]
    return tuple(
        Dissection(
            concept=images.concepts[k],
            learn_images=len(learn),
            check_images=len(check),
            having=sum(k in images.having(row) for row in check),
            combination=covers[k][0],
            singles=tuple(covers[k][1:]),
            gain=sums.gain(k),
        )
        for k in places
    )


def _placed(rule: PixelRule, named: Sequence[PlacedFilter], cover: Cover) -> PlacedRule:
    filters = tuple(named[bit] for bit in rule.bits)
    return PlacedRule(filters=filters, at_least=rule.at_least, cover=cover)


def _halves(images: MaskedImages, seed: int) -> tuple[list[int], list[int]]:
    """Two halves of the images that share every concept out evenly, rare concepts first.

    Reference:
        Sechidis et al., "On the Stratification of Multi-Label Data", ECML PKDD 2011.
    """
    concepts = {row: images.having(row) for row in range(len(images))}
    totals = np.zeros(len(images.concepts), dtype=np.int64)
    for having in concepts.values():
        totals[list(having)] += 1
    order = np.random.default_rng(seed).permutation(len(images)).tolist()
    order.sort(key=lambda row: min((totals[each] for each in concepts[row]), default=len(images)))
    halves: tuple[list[int], list[int]] = ([], [])
    shares = np.zeros((2, len(totals)), dtype=np.int64)
    for row in order:
        rarest_first = sorted(concepts[row], key=lambda each: totals[each])
        side = min((0, 1), key=lambda s: (*shares[s, rarest_first].tolist(), len(halves[s])))
        halves[side].append(row)
        shares[side, rarest_first] += 1
    lacking = np.flatnonzero(shares.min(axis=0) == 0)
    if len(lacking):
        raise DataError(
            f"{images.path} should have {images.concepts[lacking[0]]!r} in both halves of its "
            "images, to find filters with and to check them on. Found it in one. Mask more images."
        )
    # In the order of the file: a half is read from disk as it lies there.
    return sorted(halves[0]), sorted(halves[1])


def _named(found: LitFilter, layout: PathLayout) -> PlacedFilter:
    layer, number = layout.place(found.gate)
    return PlacedFilter(
        layer=layer, filter=number, top_share=found.top_share, threshold=found.threshold
    )
