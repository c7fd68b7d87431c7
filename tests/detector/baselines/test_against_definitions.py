"""The baselines against their definitions, written out image by image."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import logsumexp, softmax
from sklearn.covariance import EmpiricalCovariance

from detector.baselines import (
    Energy,
    FeatureSqueezing,
    LeeMahalanobis,
    LocalIntrinsicDimensionality,
    MaxSoftmax,
    NearestNeighbours,
    ReversedMaxSoftmax,
    all_baselines,
)
from detector.baselines.distances import some_of
from detector.baselines.intrinsic_dimensionality import intrinsic_dimensionality
from detector.scoring.observation import Observation

CLASSES = 3


def assert_equal(found: torch.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-4)


def standardised(values: np.ndarray, clean: np.ndarray) -> np.ndarray:
    return (values - clean.mean(axis=0)) / clean.std(axis=0)


# ---- what reads class logits


def test_the_softmax_scores_are_one_less_the_largest_probability_and_its_reverse(layout, observe):
    seen = observe(20)
    doubt = 1 - softmax(seen.class_logits.double().numpy(), axis=1).max(axis=1)
    assert_equal(MaxSoftmax(layout, CLASSES)(seen)[:, 0], doubt)
    assert_equal(ReversedMaxSoftmax(layout, CLASSES)(seen)[:, 0], -doubt)


def test_predictions_that_are_all_but_certain_are_still_told_apart(layout, observe):
    seen = observe(2)
    logits = torch.tensor([[40.0, 0.0, 0.0], [50.0, 0.0, 0.0]])
    first, second = MaxSoftmax(layout, CLASSES)(dataclasses.replace(seen, class_logits=logits))
    assert first > second > 0


def test_the_energy_is_that_of_liu(layout, observe):
    seen = observe(20)
    assert_equal(Energy(layout, CLASSES)(seen)[:, 0], -logsumexp(seen.class_logits.numpy(), axis=1))


def test_feature_squeezing_is_the_largest_change_of_the_probabilities(layout, observe):
    seen = observe(20)
    before = softmax(seen.class_logits.numpy(), axis=1)
    changes = [
        np.abs(softmax(copy.class_logits.numpy(), axis=1) - before).sum(axis=1)
        for copy in seen.copies.values()
    ]
    assert_equal(FeatureSqueezing(layout, CLASSES)(seen)[:, 0], np.maximum(*changes))


def test_feature_squeezing_reads_the_copies_that_it_is_given_and_wants_one(layout, observe):
    seen = observe(20)
    one = FeatureSqueezing(layout, CLASSES, copies=("bits:5",))
    other = FeatureSqueezing(layout, CLASSES, copies=("median:3",))
    both = FeatureSqueezing(layout, CLASSES)
    assert torch.equal(both(seen), torch.maximum(one(seen), other(seen)))
    with pytest.raises(ValueError, match="Found no median:3"):
        both(dataclasses.replace(seen, copies={"bits:5": seen.copies["bits:5"]}))
    with pytest.raises(ValueError, match="at least one copy"):
        FeatureSqueezing(layout, CLASSES, copies=())


def test_without_squeezers_feature_squeezing_is_left_out(layout):
    kinds = {type(baseline) for baseline in all_baselines(layout, CLASSES, squeezers=())}
    assert FeatureSqueezing not in kinds
    assert len(kinds) == 6


# ---- what reads activations


def lee(seen: Observation, clean: Observation) -> np.ndarray:
    """Distance from the closest class in each layer; the clean classes are 0, 1, 2, 0, ..."""
    labels = np.arange(len(clean)) % CLASSES
    columns = []
    for part in clean.path.layout.slices:
        values = clean.path.activations[:, part].double().numpy()
        means = np.stack([values[labels == label].mean(axis=0) for label in range(CLASSES)])
        covariance = EmpiricalCovariance(assume_centered=True).fit(values - means[labels])
        away = seen.path.activations[:, part].double().numpy()[:, None] - means
        columns.append(np.einsum("bkc,cd,bkd->bk", away, covariance.precision_, away).min(axis=1))
    return np.stack(columns, axis=1)


def test_mahalanobis_is_the_distance_from_the_closest_class(layout, make_clean, observe):
    clean, seen = make_clean(), observe(20, seed=1)
    score = LeeMahalanobis(layout, CLASSES).fit(clean)
    whole = observe(600)
    expected = standardised(lee(seen, whole), lee(clean.sample, whole))
    assert_equal(score.layers(seen), expected)
    assert_equal(score(seen)[:, 0], expected.sum(axis=1))


def test_directions_in_which_clean_images_do_not_move_count_nothing(layout, make_clean, observe):
    """As with the pseudo-inverse of the reference: two channels always alike, one always zero."""
    clean = make_clean(300, sample=300)
    values = clean.sample.path.activations.clone()
    values[:, 1], values[:, 2] = values[:, 0], 0
    sample = dataclasses.replace(
        clean.sample, path=dataclasses.replace(clean.sample.path, activations=values)
    )
    statistics = type(clean.statistics).of(sample.path, clean.labels, CLASSES)
    score = LeeMahalanobis(layout, CLASSES).fit(
        dataclasses.replace(clean, statistics=statistics, sample=sample)
    )
    seen = observe(20, seed=1)
    assert_equal(score.layers(seen), standardised(lee(seen, sample), lee(sample, sample)))


def lid(distances: np.ndarray, neighbours: int) -> float:
    nearest = np.sort(distances)[:neighbours]
    return -1 / float(np.mean(np.log(nearest / nearest[-1])))


def test_the_intrinsic_dimensionality_is_the_estimate_of_its_formula(layout, make_clean, observe):
    clean, seen = make_clean(), observe(20, seed=1)
    score = LocalIntrinsicDimensionality(layout, CLASSES, neighbours=15).fit(clean)
    expected = np.zeros((20, layout.layers))
    usual = np.zeros((300, layout.layers))
    for layer, part in enumerate(layout.slices):
        reference = clean.sample.path.activations[:, part].numpy()
        away = cdist(seen.path.activations[:, part].numpy(), reference)
        expected[:, layer] = [lid(row, 15) for row in away]
        others = cdist(reference, reference) + np.diag(np.full(300, np.inf))  # none is its own
        usual[:, layer] = [lid(row, 15) for row in others]
    assert_equal(score.layers(seen), standardised(expected, usual))
    assert_equal(score(seen)[:, 0], standardised(expected, usual).sum(axis=1))


@pytest.mark.parametrize("dimensions", [2, 5])
def test_the_estimate_finds_the_dimension_of_a_ball(dimensions):
    """The estimate from k neighbours has the relative deviation 1 / sqrt(k): Amsaleg et al."""
    generator = np.random.default_rng(0)
    k, trials = 100, 400
    radii = np.sort(generator.random((trials, k)) ** (1 / dimensions), axis=1)
    found = intrinsic_dimensionality(torch.from_numpy(radii))
    # Given the largest radius, the other k - 1 logarithms are exponential: their sum is Gamma
    # with k - 1 degrees, and the mean of k d / Gamma is d k / (k - 2).
    expected = dimensions * k / (k - 2)
    error = expected / np.sqrt(k - 3) / np.sqrt(trials)
    assert float(found.mean()) == pytest.approx(expected, abs=4 * error)


def test_the_estimate_is_bounded_where_its_formula_is_not():
    distances = torch.tensor([[0.0, 0.0, 0.0], [2.0, 2.0, 2.0], [0.0, 1.0, 2.0]])
    none, largest, duplicate = intrinsic_dimensionality(distances).tolist()
    assert none == 0
    assert largest == pytest.approx(1000)
    assert 0 < duplicate < 0.1


def test_nearest_neighbours_is_the_distance_from_the_kth_direction(layout, make_clean, observe):
    clean, seen = make_clean(), observe(20, seed=1)
    score = NearestNeighbours(layout, CLASSES, neighbours=7).fit(clean)
    directions = []
    for part in (seen, clean.sample):
        last = part.path.activations[:, layout.slices[-1]].numpy()
        directions.append(last / np.linalg.norm(last, axis=1, keepdims=True))
    assert_equal(score(seen)[:, 0], np.sort(cdist(*directions), axis=1)[:, 6])


def test_with_fewer_images_than_neighbours_the_farthest_counts(layout, make_clean, observe):
    clean, seen = make_clean(30, sample=12), observe(20, seed=1)
    most = NearestNeighbours(layout, CLASSES, neighbours=12).fit(clean)
    more = NearestNeighbours(layout, CLASSES, neighbours=50).fit(clean)
    assert torch.equal(more(seen), most(seen))


# ---- layers and references


@pytest.mark.parametrize("kind", [LeeMahalanobis, LocalIntrinsicDimensionality])
def test_a_layer_has_a_measure_of_its_own_with_a_name(kind, layout, make_clean, observe):
    score = kind(layout, CLASSES).fit(make_clean())
    seen = observe(6, seed=1)
    changed = seen.path.activations.clone()
    changed[:, layout.slices[2]] += 3
    path = dataclasses.replace(seen.path, activations=changed)
    moved = score.layers(dataclasses.replace(seen, path=path)) - score.layers(seen)
    assert (moved.abs().amax(dim=0) > 1e-3).tolist() == [False, False, True, False]
    (name,) = score.names
    assert score.layer_names == tuple(f"{name}:{layer}" for layer in layout.names)


@pytest.mark.parametrize("kind", [LeeMahalanobis, LocalIntrinsicDimensionality])
def test_layers_of_another_network_are_refused(kind, layout, make_clean, observe):
    other = dataclasses.replace(layout, names=("a", "b", "c", "d"), sizes=(6, 6, 4, 5))
    score = kind(other, CLASSES)
    with pytest.raises(ValueError, match=r"should have 21 gates. Found 22"):
        score.layers(observe(6))


@pytest.mark.parametrize("kind", [LocalIntrinsicDimensionality, NearestNeighbours])
def test_the_reference_is_as_large_as_was_asked_for(kind, layout, make_clean, observe):
    score = kind(layout, CLASSES, neighbours=5, reference_images=40).fit(make_clean())
    assert len(score.state_dict()["reference"]) == 40
    restored = kind(layout, CLASSES, neighbours=5, reference_images=40).restore(score.state_dict())
    assert torch.equal(restored(observe(9)), score(observe(9)))


@pytest.mark.parametrize("kind", [LocalIntrinsicDimensionality, NearestNeighbours])
def test_a_score_that_was_not_fitted_says_so(kind, layout, observe):
    with pytest.raises(ValueError, match="Fit the score first"):
        kind(layout, CLASSES)(observe(3))


def test_some_rows_are_the_same_ones_each_time_and_in_their_order():
    values = torch.arange(100).unsqueeze(1)
    chosen = some_of(values, 30).flatten()
    assert torch.equal(chosen, some_of(values, 30).flatten())
    assert torch.equal(chosen, chosen.unique())
    assert len(chosen) == 30
    assert chosen.max() > 60  # not the first ones: tables are sorted
    assert torch.equal(some_of(values, 1000), values)


@pytest.mark.parametrize(
    ("kind", "neighbours", "images"),
    [
        (LocalIntrinsicDimensionality, 1, 10),
        (LocalIntrinsicDimensionality, 10, 10),
        (NearestNeighbours, 0, 10),
        (NearestNeighbours, 11, 10),
    ],
)
def test_numbers_of_neighbours_that_cannot_be_are_refused(kind, neighbours, images, layout):
    with pytest.raises(ValueError, match=f"Found {neighbours} and {images}"):
        kind(layout, CLASSES, neighbours=neighbours, reference_images=images)
