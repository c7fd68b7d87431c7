"""Rates, distances and maps of classes, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence

from detector.jobs.interpretation.class_distances import ALL_LAYERS, class_distances
from detector.jobs.interpretation.class_rates import ClassRates, class_rates, layer_gates
from detector.jobs.interpretation.embedding import embed_layers
from detector.path_table import PathTable, SplitName


def rates_of(sample, labels=None) -> ClassRates:
    labels = sample.labels if labels is None else labels
    return ClassRates.of(sample.bits, labels, layout=sample.layout, classes=4)


@pytest.fixture
def sample(make_sample):
    return make_sample(400, noise=0.3)


def test_rates_of_two_parts_add_up_to_those_of_the_whole(sample) -> None:
    added = rates_of(sample[:150]) + rates_of(sample[150:])
    whole = rates_of(sample)
    assert (added.open_counts == whole.open_counts).all()
    assert (added.counts == whole.counts).all()
    assert whole.overall == pytest.approx(sample.bits.mean(axis=0))


def test_gates_are_always_open_always_closed_or_dependent(sample) -> None:
    early, late = layer_gates(rates_of(sample))
    assert (early.always_open, early.always_closed, early.input_dependent) == (0, 0, 6)
    assert (late.always_open, late.always_closed, late.input_dependent) == (1, 1, 8)
    assert late.open_share == pytest.approx(sample.bits[:, 6:].mean())


def test_distances_are_those_of_independent_gates(sample) -> None:
    rates = rates_of(sample)
    everywhere, early, late = class_distances(rates, rates)
    assert (everywhere.layer, early.layer, late.layer) == (ALL_LAYERS, "early", "late")
    p, q = (Bernoulli(torch.tensor(rates.open_rates[label, 6:])) for label in (0, 1))
    symmetric = (kl_divergence(p, q) + kl_divergence(q, p)).sum()
    assert late.divergence[0][1] == late.divergence[1][0]
    assert late.divergence[0][1] == pytest.approx(float(symmetric))
    differ = p.probs * (1 - q.probs) + (1 - p.probs) * q.probs
    assert late.differing[0][1] == pytest.approx(float(differ.mean()))
    assert everywhere.divergence[0][1] == pytest.approx(
        early.divergence[0][1] + late.divergence[0][1]
    )


def test_classes_lie_far_apart_only_where_labels_are_their_own(sample) -> None:
    shuffled = rates_of(sample, np.random.default_rng(0).permutation(sample.labels))
    early, late = class_distances(rates_of(sample), shuffled)[1:]
    assert late.mean_divergence > 10 * late.shuffled_divergence
    # Coins: own and shuffled labels are one to them. Of 6 gates in 100 images a class each, the
    # divergence is about 6 * 2 / 100, with a spread of its half at most.
    assert early.mean_divergence < 0.3


def test_classes_with_like_paths_join_first_and_stand_side_by_side(sample) -> None:
    # Half of the images of d are called b: what is left of b is half of d.
    labels = np.where((sample.labels == 3) & (np.arange(400) % 8 == 3), 1, sample.labels)
    found = class_distances(rates_of(sample, labels), rates_of(sample))[0]
    assert len(found.merges) == 3
    first = found.merges[0]
    assert {*first.first, *first.second} == {1, 3}
    assert abs(found.order.index(1) - found.order.index(3)) == 1
    assert sorted(found.order) == [0, 1, 2, 3]


def test_rates_of_a_table_are_those_of_all_of_its_rows(make_table, tmp_path) -> None:
    table = PathTable(make_table(tmp_path))
    rows = table.read(SplitName.TRAIN)
    found, shuffled = class_rates(table, SplitName.TRAIN, np.random.default_rng(0))
    expected = rows.path.bits[rows.labels == 1].sum(dim=0)
    assert (found.open_counts[1] == expected.numpy()).all()
    assert shuffled.overall == pytest.approx(found.overall)
    assert (shuffled.open_counts != found.open_counts).any()


def test_in_the_map_of_a_layer_that_knows_them_classes_lie_apart(make_sample) -> None:
    drawn = embed_layers(make_sample(300), points=120, seed=0, done=lambda _: None)
    labels = np.array(drawn.labels)

    def neighbours_alike(points) -> float:
        places = np.array(points)
        apart = np.linalg.norm(places[:, None] - places[None], axis=2)
        np.fill_diagonal(apart, np.inf)
        return float((labels[apart.argmin(axis=1)] == labels).mean())

    early, late = (neighbours_alike(layer.points) for layer in drawn.layers)
    assert late > 0.9
    assert early < 0.5  # chance is a quarter; 120 images make it .5 hardly ever


def test_no_map_is_drawn_of_fewer_images_than_ten(make_sample) -> None:
    drawn = embed_layers(make_sample(300), points=9, seed=0, done=lambda _: None)
    assert (drawn.layers, drawn.labels) == ((), ())
