"""What a class hangs on is found by one backward pass, and stands for it where it tells of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from detector.decoupling import DecoupledNetwork
from detector.errors import DataError
from detector.jobs.interpretation.causes import concept_causes
from detector.jobs.interpretation.combinations import find_combination
from detector.jobs.interpretation.concepts import ClassConcept, concepts_of_classes
from detector.jobs.interpretation.sample_images import SampleImages
from detector.path_table import SplitName


@pytest.fixture
def images(colours) -> SampleImages:
    return SampleImages(colours.sample, colours.splits.test, colours.splits.preprocessing)


def test_causes_are_the_slope_of_the_class_along_the_gate(colours, images) -> None:
    """Gate k of the colours alone feeds logit k, so that the slope is known by hand."""
    told: list[int] = []
    concepts = concepts_of_classes(colours.sample.class_names)
    found = concept_causes(colours.network, images, concepts, limit=7, seed=0, done=told.append)
    bright = torch.tensor([0.8, -0.2, 0.0])  # logits of red
    chance = bright.softmax(dim=0)[0]
    assert found[0, 0] == pytest.approx(1.0 * (1 - float(chance)), abs=1e-6)
    # Closed gates pass nothing on, and the six last feed no logit.
    assert np.delete(found[0], 0) == pytest.approx(0.0, abs=1e-6)
    assert sum(told) == 21


def test_causes_of_blocks_that_add_in_place_are_those_of_their_gates_alone(colours) -> None:
    """A torchvision block adds its shortcut onto the gated output in place."""
    torch.manual_seed(0)
    network = DecoupledNetwork(resnet18(num_classes=3)).eval()
    for controller in network.controllers:
        nn.init.normal_(controller.excite.weight)
        nn.init.zeros_(controller.excite.bias)
    with torch.inference_mode():
        images = SampleImages(colours.sample, colours.splits.test, colours.splits.preprocessing)
        opened = network(images.inputs(np.arange(6), torch.device("cpu"))).path.bits
    sample = colours.sample[:6]
    images = SampleImages(sample, colours.splits.test, colours.splits.preprocessing)
    concept = ClassConcept("all", [0, 1, 2])
    found = concept_causes(network, images, [concept], limit=6, seed=0, done=lambda _: None)[0]
    ever = opened.any(dim=0).numpy()
    assert 0 < ever.sum() < network.layout.gates
    assert (found[~ever] == 0).all()
    assert (found[ever] != 0).any()


def test_the_network_is_left_as_it_came(colours, images) -> None:
    def hooks() -> int:
        return sum(len(module._forward_hooks) for module in colours.network.modules())

    before, inputs = hooks(), images.inputs(np.arange(3), torch.device("cpu"))
    logits = colours.network(inputs).class_logits
    red = ClassConcept("red", [0])
    concept_causes(colours.network, images, [red], limit=3, seed=0, done=lambda _: None)
    assert torch.equal(logits, colours.network(inputs).class_logits)
    assert hooks() == before


def test_of_gates_that_tell_the_same_the_one_that_is_a_cause_is_taken(make_sample) -> None:
    def doubled(sample):
        bits = sample.bits.copy()
        bits[:, 12] = bits[:, 6]  # both are open in class a alone
        return dataclasses.replace(sample, bits=bits)

    learn = doubled(make_sample(2000))
    check = doubled(make_sample(1000, seed=1, split=SplitName.CALIBRATION))
    causes = np.zeros(16)
    for cause in (6, 12):
        causes[:] = 0
        causes[cause] = 0.5
        found = find_combination(
            ClassConcept("a", [0]), learn, check, most_gates=12, seed=0, causes=causes
        )
        assert [gate.filter for gate in found.combination.gates] == [cause - 6]


def test_a_gate_that_all_images_open_stands_for_none_however_much_hangs_on_it(make_sample) -> None:
    causes = np.zeros(16)
    causes[10] = 5.0  # open in every image
    samples = make_sample(2000), make_sample(1000, seed=1, split=SplitName.CALIBRATION)
    found = find_combination(ClassConcept("a", [0]), *samples, most_gates=12, seed=0, causes=causes)
    assert found.combination.sentence == "late:0 open"


def test_data_other_than_the_tables_are_refused(colours) -> None:
    labels = np.roll(colours.sample.labels, 1)
    other = dataclasses.replace(colours.sample, labels=labels)
    with pytest.raises(DataError, match="same --data"):
        SampleImages(other, colours.splits.test, colours.splits.preprocessing)
