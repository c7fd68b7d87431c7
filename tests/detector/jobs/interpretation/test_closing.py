"""Closing a gate that causes a class hurts this class, and closing any other does not."""

from __future__ import annotations

import pytest
import torch

from detector.decoupling import ForcedGates
from detector.jobs.interpretation.closing import GateCloser
from detector.jobs.interpretation.combinations import find_combination
from detector.jobs.interpretation.concepts import ClassConcept
from detector.jobs.interpretation.sample_images import SampleImages


def images(colours) -> SampleImages:
    return SampleImages(colours.sample, colours.splits.test, colours.splits.preprocessing)


def closer(colours) -> GateCloser:
    return GateCloser(
        colours.network,
        images(colours),
        limit=30,
        draws=200,
        seed=0,
        done=lambda _: None,
    )


def test_closed_gates_are_closed_and_the_others_decide_as_ever(colours) -> None:
    closed = torch.zeros(9, dtype=torch.bool)
    closed[[0, 5]] = True
    images = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    way = ForcedGates(closed.unsqueeze(0), torch.zeros(1, 9, dtype=torch.bool))
    with colours.network.gradients(way):
        values = colours.network(images).records[0].values
    before = colours.network(images).records[0].values
    assert (values[:, closed] == 0).all()
    assert (values[:, ~closed] == before[:, ~closed]).all()


def test_the_gate_of_a_class_costs_it_all_and_random_gates_a_ninth(colours) -> None:
    red = ClassConcept("red", [0])
    combination = find_combination(red, colours.sample, colours.sample, most_gates=3, seed=0)
    assert combination.combination.sentence == "second:0 open"
    found = closer(colours).close(red, combination)
    assert found is not None
    assert (found.harm.value, found.harm_to_others.value) == (1.0, 0.0)
    assert (found.images, found.others) == (30, 30)
    # Any of nine gates, 200 times: four standard errors.
    assert found.random_harm.value == pytest.approx(1 / 9, abs=4 * (8 / 81 / 200) ** 0.5)
    assert found.ratio == pytest.approx(1 / found.random_harm.value)
    assert found.holds
    assert found.beyond.low > 0


def test_a_class_that_needs_no_gate_is_not_hurt_and_does_not_hold(colours) -> None:
    # The network says blue where nothing comes through.
    blue = ClassConcept("blue", [2])
    combination = find_combination(blue, colours.sample, colours.sample, most_gates=3, seed=0)
    found = closer(colours).close(blue, combination)
    assert found is not None
    assert (found.harm.value, found.ratio) == (0.0, None)
    assert not found.holds


def test_a_combination_of_closed_gates_alone_has_nothing_to_close(colours) -> None:
    concept = ClassConcept("not red", [1, 2])
    combination = find_combination(concept, colours.sample, colours.sample, most_gates=1, seed=0)
    assert combination.combination.sentence == "second:0 closed"
    assert closer(colours).close(concept, combination) is None
