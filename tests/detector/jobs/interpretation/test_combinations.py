"""Combinations stand for planted concepts, as small as they can be, on images unseen before."""

from __future__ import annotations

import numpy as np
import pytest

from detector.errors import DataError
from detector.jobs.interpretation.combinations import find_combination
from detector.jobs.interpretation.concepts import ClassConcept, LabelledConcept
from detector.path_table import SplitName


@pytest.fixture
def samples(make_sample):
    return make_sample(2000), make_sample(1000, seed=1, split=SplitName.CALIBRATION)


def test_a_concept_of_three_gates_is_found_and_beats_every_single_gate(samples) -> None:
    # Early gates are coins: only all three together say whether an image has the concept.
    marks = {
        (sample.split, index): bool(has)
        for sample in samples
        for index, has in enumerate(sample.bits[:, 0] & sample.bits[:, 2] & ~sample.bits[:, 4])
    }
    found = find_combination(LabelledConcept("planted", marks), *samples, most_gates=12, seed=0)
    rule = found.combination
    assert {(gate.layer, gate.filter, gate.is_open) for gate in rule.gates} == {
        ("early", 0, True),
        ("early", 2, True),
        ("early", 4, False),
    }
    assert rule.precision is not None
    assert (rule.precision.rate, rule.recall.rate) == (1.0, 1.0)
    assert found.beats_single
    # A single coin of three: all members, and 3 of 7 others wrongly.
    assert found.single.balanced_accuracy.contains((1 + 4 / 7) / 2)


def test_a_concept_of_one_gate_gets_no_further_gate(samples) -> None:
    found = find_combination(ClassConcept("b", [1]), *samples, most_gates=12, seed=0)
    assert found.combination.sentence == "late:1 open"
    assert not found.beats_single


def test_a_concept_that_no_gate_knows_is_told_no_better_than_by_chance(samples) -> None:
    generator = np.random.default_rng(5)
    marks = {
        (sample.split, index): bool(generator.random() < 0.5)
        for sample in samples
        for index in range(len(sample))
    }
    found = find_combination(LabelledConcept("nothing", marks), *samples, most_gates=12, seed=0)
    assert found.combination.balanced_accuracy.contains(0.5)
    assert not found.beats_single


def test_images_of_which_nothing_is_known_do_not_count(samples) -> None:
    marks = {
        (sample.split, index): bool(sample.labels[index] == 0)
        for sample in samples
        for index in range(100)
    }
    found = find_combination(LabelledConcept("known", marks), *samples, most_gates=2, seed=0)
    assert found.members == 25
    assert found.combination.recall.total + found.combination.specificity.total == 100


def test_a_concept_that_no_image_has_is_refused(samples) -> None:
    with pytest.raises(DataError, match=r"'none'.*Found 0 and 2000"):
        find_combination(ClassConcept("none", []), *samples, most_gates=2, seed=0)
