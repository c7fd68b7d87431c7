"""What scores that go layer by layer keep beside the contract of all scores."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from detector.paths import PathLayout
from detector.scoring import (
    ActivationDistance,
    BernoulliScore,
    CleanImages,
    GateLogitDistance,
    LayerDeviation,
    LayerScore,
    PathStatistics,
)

CASES = [BernoulliScore, GateLogitDistance, ActivationDistance]

# Sizes that repeat side by side and apart, as in real networks.
LAYOUT = PathLayout(names=("one", "two", "three", "four"), sizes=(6, 6, 4, 6))
CLASSES = 3


def labels_of(count: int) -> Tensor:
    return torch.arange(count) % CLASSES


@pytest.fixture(params=CASES, ids=lambda case: case.__name__)
def kind(request) -> type[LayerScore]:
    return request.param


@pytest.fixture
def clean(make_clean) -> CleanImages:
    return make_clean(600, LAYOUT)


@pytest.fixture
def fitted(kind, clean) -> LayerScore:
    return kind(LAYOUT, CLASSES).fit(clean)


def test_the_numbers_are_distances_in_units_of_their_spread_over_the_sample(fitted, clean):
    """What each layer adds to the sum is comparable, whatever the number of its gates."""
    found = fitted(clean.sample).view(600, 2, LAYOUT.layers + 1)
    each, together = found[:, :, :-1], found[:, :, -1]
    torch.testing.assert_close(each.mean(dim=0), torch.zeros(2, 4), atol=1e-4, rtol=0)
    torch.testing.assert_close(each.std(dim=0, correction=0), torch.ones(2, 4))
    torch.testing.assert_close(together, each.sum(dim=2))
    raw = fitted.deviation(clean.sample.path, clean.labels)
    for place, distance in enumerate((raw.own, raw.margin)):
        standard = (distance - distance.mean(dim=0)) / distance.std(dim=0, correction=0)
        torch.testing.assert_close(each[:, place], standard, atol=1e-4, rtol=1e-4)


def test_names_say_which_distance_of_which_layer(fitted):
    places = ("one", "two", "three", "four", "all")
    assert fitted.names == tuple(f"{a}:{place}" for a in ("own", "margin") for place in places)


def test_the_own_class_is_nearer_than_another(fitted, make_paths):
    labels = labels_of(300)
    path = make_paths(labels, LAYOUT, seed=1)
    right, wrong = (fitted.deviation(path, (labels + by) % CLASSES) for by in (0, 1))
    assert float(right.own.sum(dim=1).mean()) < float(wrong.own.sum(dim=1).mean())
    assert float((right.margin.sum(dim=1) < 0).float().mean()) > 0.9
    assert float((wrong.margin.sum(dim=1) > 0).float().mean()) > 0.9


def test_strange_paths_score_higher(fitted, make_seen):
    place = fitted.names.index("own:all")
    usual, strange = (
        fitted(make_seen(labels_of(300), LAYOUT, seed=1, strangeness=strangeness))[:, place]
        for strangeness in (0.0, 3.0)
    )
    assert float(strange.mean()) > float(usual.mean())


def test_only_the_layer_that_changes_changes_its_own_score(fitted, make_paths):
    labels = labels_of(4)
    path = make_paths(labels, LAYOUT, seed=1)
    part = LAYOUT.slices[2]
    other = {name: getattr(path, name).clone() for name in ("bits", "logits", "activations")}
    other["bits"][:, part] ^= True
    other["logits"][:, part] += 3
    other["activations"][:, part] += 3
    before = fitted.deviation(path, labels).own
    after = fitted.deviation(dataclasses.replace(path, **other), labels).own
    moved = (after - before).abs().amax(dim=0) > 1e-3
    assert moved.tolist() == [False, False, True, False]


def test_statistics_of_parts_add_up_to_those_of_the_whole(kind, fitted, clean, make_paths):
    path, labels = clean.sample.path, clean.labels
    parts = [
        PathStatistics.of(path[rows], labels[rows], CLASSES)
        for rows in (slice(0, 50), slice(50, 51), slice(51, 600))
    ]
    summed = kind(LAYOUT, CLASSES).fit(
        dataclasses.replace(clean, statistics=parts[0] + parts[1] + parts[2])
    )
    probe = make_paths(labels_of(9), LAYOUT, seed=1)
    found, expected = (each.deviation(probe, labels_of(9)).own for each in (summed, fitted))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_layers_that_never_vary_still_get_finite_scores(kind, make_seen):
    labels = labels_of(60)
    seen = make_seen(labels, LAYOUT)
    closed = {name: getattr(seen.path, name).clone() for name in ("bits", "logits", "activations")}
    for values in closed.values():
        values[:, LAYOUT.slices[1]] = 0
    still = dataclasses.replace(seen, path=dataclasses.replace(seen.path, **closed))
    statistics = PathStatistics.of(still.path, labels, CLASSES)
    score = kind(LAYOUT, CLASSES).fit(
        CleanImages(statistics=statistics, sample=still, labels=labels, image_ids=torch.arange(60))
    )
    for probe in (still, seen):
        assert bool(score(probe).isfinite().all())


def test_the_class_that_is_held_against_is_the_callers_choice(fitted, make_paths):
    """A path may be asked about any class, not only the predicted one."""
    path = make_paths(labels_of(3), LAYOUT, seed=1)
    both = [fitted.deviation(path, torch.full((3,), label)) for label in range(CLASSES)]
    assert all(isinstance(found, LayerDeviation) for found in both)
    total = torch.stack([found.own.sum(dim=1) for found in both], dim=1)  # (B, K)
    margins = torch.stack([found.margin.sum(dim=1) for found in both], dim=1)
    best_other = torch.stack(
        [total[:, [k for k in range(CLASSES) if k != label]].amin(dim=1) for label in range(3)],
        dim=1,
    )
    torch.testing.assert_close(margins, total - best_other, rtol=1e-4, atol=1e-3)


def test_statistics_of_two_layouts_do_not_add_up(make_paths):
    labels = labels_of(9)
    first = PathStatistics.of(make_paths(labels, LAYOUT), labels, CLASSES)
    renamed = dataclasses.replace(LAYOUT, names=("a", "b", "c", "d"))
    second = PathStatistics.of(make_paths(labels, renamed), labels, CLASSES)
    with pytest.raises(ValueError, match="one layout"):
        _ = first + second
