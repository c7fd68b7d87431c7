"""Where a path lies is taken apart gate by gate, and every part has its name."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from detector.paths import PathLayout, PathVectors
from detector.scoring import (
    ActivationDistance,
    CleanImages,
    GateLogitDistance,
    Observation,
    PathScores,
    path_evidence,
)

# Sizes that repeat side by side and apart, as in real networks.
LAYOUT = PathLayout(names=("one", "two", "three", "four"), sizes=(6, 6, 4, 6))
CLASSES = 3
MEASURED = {GateLogitDistance: "logits", ActivationDistance: "activations"}


def labels_of(count: int) -> Tensor:
    return torch.arange(count) % CLASSES


@pytest.fixture
def clean(make_clean) -> CleanImages:
    return make_clean(600, LAYOUT)


@pytest.fixture
def scores(clean) -> PathScores:
    return PathScores(LAYOUT, CLASSES).fit(clean).eval()


@pytest.fixture
def seen(make_seen) -> Observation:
    return make_seen(labels_of(9), LAYOUT, seed=1, strangeness=1.0)


def by_layer(values: Tensor) -> Tensor:
    return torch.stack([values[:, part].sum(dim=1) for part in LAYOUT.slices], dim=1)


def of_class(clean: CleanImages, label: int) -> PathVectors:
    return clean.sample.path[clean.labels == label]


def at_the_mean(clean: CleanImages, label: int) -> PathVectors:
    """One path whose activations are the mean of those of a class."""
    path = of_class(clean, label)
    return dataclasses.replace(path[:1], activations=path.activations.mean(dim=0, keepdim=True))


@pytest.mark.parametrize("kind", MEASURED, ids=lambda kind: kind.__name__)
def test_the_parts_of_all_gates_add_up_to_the_distance_whatever_the_class(kind, clean, seen):
    score = kind(LAYOUT, CLASSES).fit(clean)
    for by in range(CLASSES):
        classes = (seen.predicted + by) % CLASSES
        found = score.gate_parts(seen.path, classes)
        expected = score.deviation(seen.path, classes).own
        torch.testing.assert_close(by_layer(found.parts), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", MEASURED, ids=lambda kind: kind.__name__)
def test_a_part_is_the_gates_offset_times_that_of_the_whitened_layer(kind, clean, seen):
    """By its definition, with means and inverse covariances of their own making."""
    score = kind(LAYOUT, CLASSES).fit(clean)
    values = getattr(seen.path, MEASURED[kind])
    mean = torch.stack([getattr(of_class(clean, c), MEASURED[kind]).mean(dim=0) for c in range(3)])
    found = score.gate_parts(seen.path, seen.predicted)
    torch.testing.assert_close(found.means, mean[seen.predicted], rtol=1e-4, atol=1e-4)
    away = values - mean[seen.predicted]
    for index, group in enumerate(score.groups):
        whitening = score.get_buffer(f"whitening{index}")
        for layer, root in zip(group.layers, whitening, strict=True):
            here = away[:, LAYOUT.slices[layer]]
            expected = here * (here @ (root @ root.T))
            part = found.parts[:, LAYOUT.slices[layer]]
            torch.testing.assert_close(part, expected, rtol=1e-3, atol=1e-3)


def test_contributions_add_up_to_what_the_score_reads(scores, seen):
    found = path_evidence(scores, seen.path, seen.predicted, neighbours=5)
    values, names = scores(seen), scores.names
    whole = values[:, names.index("activations/own:all")]
    torch.testing.assert_close(found.contributions.sum(dim=1), whole, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(by_layer(found.contributions), found.layers, rtol=1e-4, atol=1e-3)
    for place, layer in enumerate(LAYOUT.names):
        expected = values[:, names.index(f"activations/own:{layer}")]
        torch.testing.assert_close(found.layers[:, place], expected)


@pytest.mark.parametrize("gate", range(LAYOUT.gates))
def test_a_planted_gate_stands_first_and_so_does_its_layer(scores, clean, gate):
    path = at_the_mean(clean, 1)
    path.activations[0, gate] += 3
    found = path_evidence(scores, path, torch.tensor([1]), neighbours=1)
    assert int(found.contributions.argmax()) == gate
    assert int(found.layers.argmax()) == int(LAYOUT.layer_of_gate()[gate])


def test_a_planted_rival_is_found_and_fits_better(scores, clean):
    for own in range(CLASSES):
        for other in {0, 1, 2} - {own}:
            path = at_the_mean(clean, other)
            found = path_evidence(scores, path, torch.tensor([own]), neighbours=1)
            assert found.rivals.tolist() == [other]
            distance = scores.scores["activations"].deviation(path, torch.tensor([own])).own
            assert float(found.margins) == pytest.approx(float(distance.sum()), rel=1e-3)


def test_the_margin_is_negative_where_the_predicted_class_fits_best(scores, clean):
    found = path_evidence(scores, at_the_mean(clean, 2), torch.tensor([2]), neighbours=1)
    assert found.rivals.tolist() != [2]
    assert float(found.margins) < 0


def test_open_shares_are_those_of_clean_images_with_ten_more_of_the_layers_mean(scores, clean):
    found = path_evidence(scores, clean.sample.path[:3], torch.tensor([0, 1, 2]), neighbours=1)
    for label, shares in enumerate(found.open_shares):
        bits = of_class(clean, label).bits
        for part in LAYOUT.slices:
            mean = clean.sample.path.bits[:, part].double().mean()
            expected = (bits[:, part].double().sum(dim=0) + 10 * mean) / (len(bits) + 10)
            torch.testing.assert_close(shares[part].double(), expected, rtol=1e-4, atol=1e-5)


def test_the_nearest_neighbour_of_a_kept_image_is_itself(scores, clean):
    kept = torch.cat([torch.nonzero(clean.labels == label)[:100, 0] for label in range(CLASSES)])
    path = clean.sample.path[kept]
    found = path_evidence(scores, path, clean.labels[kept], neighbours=5).nearest
    assert torch.equal(found.distances[:, 0], torch.zeros(len(kept)))
    # Of few gates a handful of paths are the same: each of these images is as near.
    itself = found.image_ids == clean.image_ids[kept].unsqueeze(1)
    assert itself.sum(dim=1).tolist() == [1] * len(kept)
    assert torch.equal(found.distances[itself], torch.zeros(len(kept)))
    assert torch.equal(found.labels[itself], clean.labels[kept])
    assert float(itself[:, 0].float().mean()) > 0.9


def test_neighbours_stand_nearest_first_and_say_how_many_gates_differ(scores, clean, seen):
    found = path_evidence(scores, seen.path, seen.predicted, neighbours=7).nearest
    assert found.distances.shape == found.labels.shape == found.image_ids.shape == (9, 7)
    rows = found.image_ids - 1000  # as the clean images of the tests are numbered
    differ = (clean.sample.path.bits[rows] != seen.path.bits.unsqueeze(1)).float().mean(dim=2)
    torch.testing.assert_close(found.distances, differ)
    assert bool((found.distances.diff(dim=1) >= 0).all())
    kept = torch.cat([torch.nonzero(clean.labels == label)[:100, 0] for label in range(CLASSES)])
    every = (clean.sample.path.bits[kept] != seen.path.bits.unsqueeze(1)).float().mean(dim=2)
    torch.testing.assert_close(found.distances, every.sort(dim=1).values[:, :7])


def test_of_neighbours_that_are_equally_near_the_first_is_named(make_clean, make_seen):
    clean = make_clean(30, LAYOUT)
    alike = dataclasses.replace(clean.sample.path, bits=torch.ones(30, 22, dtype=torch.bool))
    clean = dataclasses.replace(clean, sample=dataclasses.replace(clean.sample, path=alike))
    scores = PathScores(LAYOUT, CLASSES).fit(clean)
    found = path_evidence(scores, alike[:2], torch.tensor([0, 1]), neighbours=5).nearest
    # Kept class by class: those of class 0 are every third image.
    assert found.image_ids.tolist() == [[1000, 1003, 1006, 1009, 1012]] * 2


def test_fewer_neighbours_than_asked_for_are_all_that_are_kept(make_clean):
    clean = make_clean(3, LAYOUT)
    scores = PathScores(LAYOUT, CLASSES).fit(clean)
    found = path_evidence(scores, clean.sample.path, clean.labels, neighbours=5).nearest
    assert sorted(found.image_ids[0].tolist()) == [1000, 1001, 1002]
