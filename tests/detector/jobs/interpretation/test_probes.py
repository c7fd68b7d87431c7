"""Probes find what was planted in a layer, no more, and nothing under shuffled labels."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from detector.errors import DataError
from detector.jobs.interpretation.probes import probe_layers
from detector.path_table import SplitName


@pytest.fixture
def samples(make_sample):
    return make_sample(2000), make_sample(1000, seed=1, split=SplitName.CALIBRATION)


def test_a_layer_that_holds_the_class_tells_all_and_one_of_coins_nothing(samples) -> None:
    told: list[int] = []
    probes = probe_layers(*samples, seed=0, done=told.append)
    early, late = probes.layers
    assert probes.class_entropy == pytest.approx(math.log(4))
    assert late.accuracy.rate == probes.path.accuracy.rate == probes.network.rate == 1.0
    assert math.log(4) - 0.1 < late.information.value <= math.log(4)
    # Four classes, each in a state of its own, but for the coins beside them.
    assert late.at_most == late.from_logits.rate == 1.0
    assert early.accuracy.low <= probes.chance == 0.25 <= early.accuracy.high
    assert early.information.low <= 0
    assert told == [2000, 2000, 2000]


def test_with_shuffled_labels_every_layer_is_at_chance(samples) -> None:
    probes = probe_layers(*samples, seed=0, done=lambda _: None)
    for each in (*probes.layers, probes.path):
        assert each.control.low <= 0.25 <= each.control.high


def test_the_bound_comes_close_to_the_information_of_a_known_channel(make_sample) -> None:
    """Two classes, of which one gate is a noisy copy: it has log 2 - h(.1) nats, exactly."""

    def noisy(sample, seed):
        labels = np.arange(len(sample)) % 2
        bits = np.zeros_like(sample.bits)
        bits[:, 8] = (labels == 1) ^ (np.random.default_rng(seed).random(len(sample)) < 0.1)
        return dataclasses.replace(sample, class_names=("a", "b"), labels=labels, bits=bits)

    learn, check = noisy(make_sample(8000), 6), noisy(make_sample(8000), 7)
    late = probe_layers(learn, check, seed=0, done=lambda _: None).layers[1]
    exact = math.log(2) + 0.1 * math.log(0.1) + 0.9 * math.log(0.9)
    # The log-likelihood of an image is log 1.8 or log .2: its spread gives the tolerance.
    spread = math.sqrt(0.09) * (math.log(1.8) - math.log(0.2)) / math.sqrt(8000)
    assert late.information.value == pytest.approx(exact, abs=4 * spread)
    assert late.information.low < late.information.value < late.information.high


def test_no_probe_finds_more_than_the_states_of_a_layer_allow(make_sample) -> None:
    """Two gates, three states: one for a, one for b, and one that c and d share."""

    def told_by_two(sample):
        bits = np.zeros_like(sample.bits)
        bits[:, 6], bits[:, 7] = sample.labels == 0, sample.labels == 1
        logits = np.zeros_like(sample.logits)
        logits[:, 8] = sample.labels  # what the bits do not tell
        return dataclasses.replace(sample, bits=bits, logits=logits)

    learn, check = told_by_two(make_sample(400)), told_by_two(make_sample(200, seed=1))
    early, late = probe_layers(learn, check, seed=0, done=lambda _: None).layers
    assert (early.paths, early.at_most) == (1, 0.25)
    assert (late.paths, late.at_most) == (3, 0.75)
    assert late.accuracy.rate == 0.75
    assert late.from_logits.rate > 0.75


def test_a_class_without_images_to_learn_from_is_named(make_sample) -> None:
    sample = make_sample(40)
    with pytest.raises(DataError, match="Found none of c"):
        probe_layers(sample[sample.labels != 2], sample, seed=0, done=lambda _: None)
