"""What every layer score keeps. A new score is one more row of CASES."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from detector.errors import CalibrationError
from detector.paths import PathLayout, PathVectors
from detector.scoring import (
    ActivationDistance,
    BernoulliScore,
    GateLogitDistance,
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
def fitted(kind, make_paths) -> LayerScore:
    labels = labels_of(600)
    statistics = PathStatistics.of(make_paths(labels, LAYOUT), labels, CLASSES)
    return kind(LAYOUT, CLASSES).fit(statistics)


def test_each_image_gets_one_finite_score_a_layer(fitted, make_paths):
    found = fitted(make_paths(labels_of(9), LAYOUT, seed=1), labels_of(9))
    for scores in (found.own, found.margin):
        assert scores.shape == (9, 4)
        assert bool(scores.isfinite().all())


def test_the_own_class_is_nearer_than_another(fitted, make_paths):
    labels = labels_of(300)
    path = make_paths(labels, LAYOUT, seed=1)
    right, wrong = fitted(path, labels), fitted(path, (labels + 1) % CLASSES)
    assert float(right.own.sum(dim=1).mean()) < float(wrong.own.sum(dim=1).mean())
    assert float((right.margin.sum(dim=1) < 0).float().mean()) > 0.9
    assert float((wrong.margin.sum(dim=1) > 0).float().mean()) > 0.9


def test_strange_paths_score_higher(fitted, make_paths):
    labels = labels_of(300)
    usual = fitted(make_paths(labels, LAYOUT, seed=1), labels)
    strange = fitted(make_paths(labels, LAYOUT, seed=1, strangeness=3.0), labels)
    assert float(strange.own.sum(dim=1).mean()) > float(usual.own.sum(dim=1).mean())


def test_a_score_does_not_depend_on_the_rest_of_the_batch(fitted, make_paths):
    labels = labels_of(8)
    path = make_paths(labels, LAYOUT, seed=1)
    together = fitted(path, labels)
    alone = [fitted(path[row : row + 1], labels[row : row + 1]).own for row in range(8)]
    torch.testing.assert_close(together.own, torch.cat(alone), rtol=1e-5, atol=1e-4)


def test_only_the_layer_that_changes_changes_its_own_score(fitted, make_paths):
    labels = labels_of(4)
    path = make_paths(labels, LAYOUT, seed=1)
    part = LAYOUT.slices[2]
    changed = {name: getattr(path, name).clone() for name in ("bits", "logits", "activations")}
    changed["bits"][:, part] ^= True
    changed["logits"][:, part] += 3
    changed["activations"][:, part] += 3
    before = fitted(path, labels).own
    after = fitted(PathVectors(layout=LAYOUT, **changed), labels).own
    moved = (after - before).abs().amax(dim=0) > 1e-3
    assert moved.tolist() == [False, False, True, False]


def test_the_state_is_tensors_that_restore_the_same_scores(kind, fitted, make_paths):
    labels = labels_of(9)
    path = make_paths(labels, LAYOUT, seed=1)
    restored = kind(LAYOUT, CLASSES)
    restored.load_state_dict({k: v.clone() for k, v in fitted.state_dict().items()})
    for name in ("own", "margin"):
        found = getattr(restored(path, labels), name)
        assert torch.equal(found, getattr(fitted(path, labels), name))


def test_statistics_of_parts_add_up_to_those_of_the_whole(kind, fitted, make_paths):
    labels = labels_of(600)
    path = make_paths(labels, LAYOUT)
    parts = [
        PathStatistics.of(path[rows], labels[rows], CLASSES)
        for rows in (slice(0, 50), slice(50, 51), slice(51, 600))
    ]
    summed = kind(LAYOUT, CLASSES).fit(parts[0] + parts[1] + parts[2])
    probe = make_paths(labels_of(9), LAYOUT, seed=1)
    torch.testing.assert_close(
        summed(probe, labels_of(9)).own, fitted(probe, labels_of(9)).own, rtol=1e-4, atol=1e-4
    )


def test_layers_that_never_vary_still_get_finite_scores(kind, make_paths):
    labels = labels_of(60)
    path = make_paths(labels, LAYOUT)
    closed = {name: getattr(path, name).clone() for name in ("bits", "logits", "activations")}
    for values in closed.values():
        values[:, LAYOUT.slices[1]] = 0
    still = PathVectors(layout=LAYOUT, **closed)
    score = kind(LAYOUT, CLASSES).fit(PathStatistics.of(still, labels, CLASSES))
    for probe in (still, path):
        assert bool(score(probe, labels).own.isfinite().all())


def test_a_class_without_paths_is_refused(kind, make_paths):
    labels = torch.zeros(10, dtype=torch.int64)
    statistics = PathStatistics.of(make_paths(labels, LAYOUT), labels, CLASSES)
    with pytest.raises(CalibrationError, match="Found none of class 1, 2"):
        kind(LAYOUT, CLASSES).fit(statistics)


def test_statistics_of_another_network_are_refused(kind, make_paths):
    other = PathLayout(names=("one",), sizes=(6,))
    labels = labels_of(9)
    statistics = PathStatistics.of(make_paths(labels, other), labels, CLASSES)
    with pytest.raises(ValueError, match="should be of 22 gates"):
        kind(LAYOUT, CLASSES).fit(statistics)


def test_paths_of_another_network_are_refused(fitted, make_paths):
    other = PathLayout(names=("one",), sizes=(6,))
    with pytest.raises(ValueError, match="should have 22 gates"):
        fitted(make_paths(labels_of(9), other), labels_of(9))


def test_paths_and_predicted_classes_have_to_be_as_many(fitted, make_paths):
    with pytest.raises(ValueError, match="one predicted class each"):
        fitted(make_paths(labels_of(9), LAYOUT), labels_of(8))


def test_one_class_alone_is_refused(kind):
    with pytest.raises(ValueError, match="at least 2 classes"):
        kind(LAYOUT, 1)


def test_statistics_of_two_layouts_do_not_add_up(make_paths):
    labels = labels_of(9)
    first = PathStatistics.of(make_paths(labels, LAYOUT), labels, CLASSES)
    renamed = dataclasses.replace(LAYOUT, names=("a", "b", "c", "d"))
    second = PathStatistics.of(make_paths(labels, renamed), labels, CLASSES)
    with pytest.raises(ValueError, match="one layout"):
        _ = first + second
