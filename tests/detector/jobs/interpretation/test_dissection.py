"""Concepts are found where they were planted, by one filter or by several together."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from typing_extensions import override

from detector.errors import DataError
from detector.jobs.interpretation.dissection import PASSES, Dissection, dissect
from detector.jobs.interpretation.lit_filters import best_filters, lit_patterns, top_thresholds
from detector.jobs.interpretation.mask_file import MaskedImages
from detector.jobs.interpretation.pixel_rules import PixelRule, PixelSums, grow_rule
from tests.detector.jobs.interpretation.planted import CLOSED, CONCEPTS, planted, planted_network


def nothing(_: int) -> None:
    """What is told to somebody who does not listen."""


def run(folder: Path, *, count: int, most: int = 4) -> tuple[Dissection, ...]:
    images = planted(folder, count=count).read()
    return dissect(planted_network(), images, most_filters=most, seed=0, done=nothing)


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, Dissection]:
    return {each.concept: each for each in run(tmp_path_factory.mktemp("planted"), count=80)}


@pytest.mark.parametrize("concept", CONCEPTS)
def test_a_planted_concept_is_found_on_images_that_were_not_searched(found, concept) -> None:
    cover = found[concept].combination.cover
    assert cover.iou.value >= 0.5
    assert cover.precision.value >= 0.9
    assert cover.iou.low <= cover.iou.value <= cover.iou.high
    assert found[concept].learn_images + found[concept].check_images == 80


def test_each_concept_is_found_by_the_filters_that_it_was_planted_with(found) -> None:
    rules = {
        name: ({f.filter for f in each.combination.filters}, each.combination.at_least)
        for name, each in found.items()
    }
    assert rules["red"] == ({2}, 1)
    assert rules["blue"] == ({3}, 1)
    assert rules["yellow"] == ({0, 1}, 2)
    assert rules["red or blue"] == ({2, 3}, 1)


def test_a_combination_beats_the_best_filter_only_where_it_takes_several(found) -> None:
    better = {name for name, each in found.items() if each.beats_single}
    assert better == {"yellow", "red or blue"}


def test_a_filter_whose_gate_is_closed_lights_nothing(found) -> None:
    last = found["red"].singles[-1]
    assert (last.filters[0].filter, last.cover.precision) == (CLOSED, None)
    assert last.cover.iou.value == last.cover.recall.value == 0


def test_the_best_filters_are_those_of_a_count_by_hand(tmp_path) -> None:
    images, network = planted(tmp_path, count=12).read(), planted_network()
    rows = range(12)
    thresholds = top_thresholds(network, images, rows, seed=0, done=nothing)
    assert thresholds.shape == (6, 6)
    assert (np.diff(thresholds, axis=0) <= 0).all()  # more places, lower thresholds
    (best, *_), *_ = best_filters(network, images, rows, thresholds, most=3, done=nothing)
    pixels, masks = (torch.stack(each) for each in zip(*map(images.read, rows), strict=True))
    maps = torch.relu(network.backbone.second(images.preprocessing(pixels)))[:, best.gate]
    full = torch.nn.functional.interpolate(maps[:, None], size=(32, 32), mode="bilinear")[:, 0]
    lit, red = full > best.threshold, masks[:, 0]
    expected = (lit & red).sum() / (lit | red).sum()
    counts = sum(lit_patterns(network, images, rows, [[best]] * 4, done=nothing))
    within, taken = counts[0, 1, 1], counts[0, 1].sum()
    assert within / (taken + counts[0, :, 1].sum() - within) == pytest.approx(float(expected))


def test_the_network_is_left_as_it_was_even_after_an_error(tmp_path) -> None:
    images, network = planted(tmp_path, count=8).read(), planted_network()
    hooks = {name: len(m._forward_hooks) for name, m in network.backbone.named_modules()}

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        top_thresholds(network, images, range(8), seed=0, done=stop)
    with pytest.raises(RuntimeError):
        top_thresholds(network.double(), images, range(8), seed=0, done=nothing)
    assert hooks == {name: len(m._forward_hooks) for name, m in network.backbone.named_modules()}


def test_rules_grow_for_as_long_as_they_cover_more() -> None:
    counts = np.zeros((8, 2), dtype=np.int64)
    # The concept is where filters 0 and 1 are lit; filter 2 is lit anywhere.
    counts[[0b001, 0b010, 0b101, 0b110], 0] = 25
    counts[[0b011, 0b111], 1] = 50
    counts[[0b000, 0b100], 0] = 500
    assert grow_rule(counts, 3) == PixelRule(bits=(0, 1), at_least=2)
    assert grow_rule(counts, 1) == PixelRule(bits=(0,), at_least=1)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Images cover 30 or 70 of 100 pixels at random: on average half of the concept."""
    generator, held, runs = np.random.default_rng(0), 0, 200
    for seed in range(runs):
        rule = PixelRule(bits=(0,), at_least=1)
        sums = PixelSums([[rule, rule]], 2, seed)
        for within in generator.choice([30, 70], size=60):
            sums.add(np.array([[[0, 100 - within], [0, within]]]))
        held += sums.covered(0, 0).recall.contains(0.5)
        assert sums.gain(0).value == 0
    # 95 % less four standard errors of 200 runs, and one point that the bootstrap of 60 falls short
    assert held / runs >= 0.95 - 4 * (0.95 * 0.05 / runs) ** 0.5 - 0.01


def test_memory_does_not_grow_with_the_images(tmp_path) -> None:
    peaks = []
    for count in (96, 288):
        folder = tmp_path / str(count)
        folder.mkdir()
        images = planted(folder, count=count).read()
        tracemalloc.start()
        dissect(planted_network(), images, most_filters=4, seed=0, done=nothing)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # One more image adds its lines of the file, not its 4 kB of counts or 24 kB of masks.
    assert peaks[1] - peaks[0] < (288 - 96) * 2000


def test_progress_counts_each_pass(tmp_path) -> None:
    told: list[int] = []
    images = planted(tmp_path, count=20).read()
    dissect(planted_network(), images, most_filters=2, seed=0, done=told.append)
    assert sum(told) == PASSES * 20


class Having(MaskedImages):
    """Images of which nothing is known but their concepts."""

    def __init__(self, *concepts: str) -> None:
        self.concepts = tuple(sorted(set("".join(concepts))))
        self.path = Path("masks.csv")
        self._having = concepts

    @override
    def __len__(self) -> int:
        return len(self._having)

    @override
    def having(self, index: int) -> tuple[int, ...]:
        return tuple(self.concepts.index(each) for each in self._having[index])

    @override
    def read(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        raise LookupError(f"image {index} is asked for")


def test_a_concept_that_falls_into_one_half_alone_is_named() -> None:
    # Where b falls hangs on a and c, which are as rare: with some seeds into one half.
    images = Having("a", "ab", "c", "cb")
    told = set()
    for seed in range(20):
        with pytest.raises((DataError, LookupError)) as caught:
            dissect(planted_network(), images, most_filters=1, seed=seed, done=nothing)
        told.add((caught.type, "'b' in both halves" in str(caught.value)))
    assert told == {(DataError, True), (LookupError, False)}
