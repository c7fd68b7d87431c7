"""The scores against their definitions, written out class by class and layer by layer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.covariance import oas

from detector.paths import PathLayout, PathVectors
from detector.scoring import (
    BernoulliScore,
    CleanImages,
    Confidence,
    Disagreement,
    GateLogitDistance,
    HammingNeighbours,
    Observation,
)
from detector.scoring.mahalanobis import oas_shrinkage

LAYOUT = PathLayout(names=("one", "two", "three"), sizes=(5, 4, 5))


@pytest.fixture
def clean(make_clean) -> CleanImages:
    return make_clean(400, LAYOUT, classes=4)


@pytest.fixture
def probe(make_seen) -> Observation:
    """Every other path is of another class than the predicted one."""
    labels = torch.arange(8) % 4
    paths_of = (labels + torch.arange(8) % 2) % 4
    return make_seen(labels, LAYOUT, classes=4, paths_of=paths_of, seed=1)


def test_bernoulli_is_the_log_likelihood_of_shrunken_rates(clean, probe):
    score = BernoulliScore(LAYOUT, 4, kappa=10).fit(clean)
    costs = bernoulli_costs(clean, probe)
    assert_costs(score.deviation(probe.path, probe.predicted), costs, probe.predicted)


def test_bernoulli_knows_how_often_each_gate_is_open(clean):
    """Each rate is the mean over the class, drawn towards the layer's by ten images at most."""
    rates = BernoulliScore(LAYOUT, 4, kappa=10).fit(clean).open_rates
    for label in range(4):
        bits = clean.sample.path.bits[clean.labels == label].float()
        assert rates[label].tolist() == pytest.approx(bits.mean(dim=0).tolist(), abs=10 / 110)


def bernoulli_costs(clean: CleanImages, probe: Observation) -> torch.Tensor:
    """Negative log-likelihood of each layer under each class, float64 of shape (B, K, L)."""
    bits = clean.sample.path.bits.double()
    costs = torch.zeros(len(probe), 4, 3, dtype=torch.float64)
    for layer, part in enumerate(LAYOUT.slices):
        mean = bits[:, part].mean()
        for label in range(4):
            own = bits[clean.labels == label][:, part]
            rates = (own.sum(dim=0) + 10 * mean) / (len(own) + 10)
            each = torch.where(probe.path.bits[:, part], rates.log(), (1 - rates).log())
            costs[:, label, layer] = -each.sum(dim=1)
    return costs


def test_mahalanobis_is_the_distance_under_a_tied_shrunken_covariance(clean, probe):
    labels = clean.labels
    score = GateLogitDistance(LAYOUT, 4).fit(clean)
    found = score.deviation(probe.path, probe.predicted)
    values = clean.sample.path.logits.double()
    costs = torch.zeros(len(probe), 4, 3, dtype=torch.float64)
    for layer, part in enumerate(LAYOUT.slices):
        means = torch.stack([values[labels == label][:, part].mean(dim=0) for label in range(4)])
        centred = (values[:, part] - means[labels]).numpy()
        covariance, share = oas(centred, assume_centered=True)
        assert share > 0.01  # above the least shrinkage, so that the two can be compared
        precision = torch.from_numpy(np.linalg.inv(covariance))
        for label in range(4):
            away = probe.path.logits[:, part].double() - means[label]
            costs[:, label, layer] = ((away @ precision) * away).sum(dim=1)
    assert_costs(found, costs, probe.predicted)


def test_the_shrinkage_is_that_of_scikit_learn():
    centred = np.random.default_rng(0).normal(size=(30, 6)) * np.arange(1, 7)
    _, expected = oas(centred, assume_centered=True)
    covariance = torch.from_numpy(centred.T @ centred / 30)
    assert float(oas_shrinkage(covariance, 30)) == pytest.approx(expected)


def test_confidence_is_that_of_the_softmax() -> None:
    logits = torch.tensor([[2.0, 1.0, -1.0], [0.0, 0.0, 5.0]])
    path = some_path(torch.ones(2, LAYOUT.gates))
    score = Confidence(LAYOUT, 3)
    found = score(Observation(path=path, class_logits=logits))
    for row in range(2):
        first, second, third = sorted(logits[row].tolist(), reverse=True)
        energy = math.log(sum(math.exp(each) for each in (first, second, third)))
        high = [first - energy, first - second, energy]
        assert found[row].tolist() == pytest.approx([-each for each in high] + high, abs=1e-6)
    assert score.names[3:] == ("high-log-probability", "high-logit-margin", "high-energy")


def test_disagreement_counts_the_layers_that_another_class_explains_better(clean, probe):
    found = Disagreement(LAYOUT, 4).fit(clean)(probe)
    costs = bernoulli_costs(clean, probe)
    for row, predicted in enumerate(probe.predicted.tolist()):
        total = costs[row].sum(dim=1)
        others = [label for label in range(4) if label != predicted]
        other = min(others, key=lambda label: float(total[label]))
        margin = costs[row, predicted] - costs[row, other]
        better = [layer + 1 for layer in range(3) if margin[layer] > 0]
        expected = [float(margin.sum()), len(better) / 3, max(better, default=0) / 3]
        assert found[row].tolist() == pytest.approx(expected, abs=1e-3)
    assert bool((found[1::2, 0] > 0).any())  # some of the paths are of another class


@pytest.mark.parametrize("per_class", [100, 3])
def test_neighbours_are_the_five_that_differ_in_the_fewest_gates(clean, probe, per_class):
    score = HammingNeighbours(LAYOUT, 4, per_class=per_class).fit(clean)
    found = score(probe)
    kept = torch.cat([torch.nonzero(clean.labels == label)[:per_class, 0] for label in range(4)])
    for row, predicted in enumerate(probe.predicted.tolist()):
        differ = (clean.sample.path.bits[kept] != probe.path.bits[row]).float().mean(dim=1)
        same = clean.labels[kept] == predicted
        # Where fewer than five are there, each that is missing is as far as can be.
        own, others = ((sorted(differ[among].tolist()) + [1.0] * 5)[:5] for among in (same, ~same))
        expected = [sum(own) / 5, sum(own) / 5 - sum(others) / 5]
        assert found[row].tolist() == pytest.approx(expected, abs=1e-6)


def test_neighbours_of_soft_bits_are_as_far_as_expected(clean, probe) -> None:
    """Of gates that are open with some probability each, the mean over what they may be."""
    score = HammingNeighbours(LAYOUT, 4).fit(clean)
    chance = torch.rand(1, LAYOUT.gates, generator=torch.Generator().manual_seed(0))
    seen = Observation(path=some_path(chance), class_logits=probe.class_logits[:1])
    kept = score.bits.float()
    expected = (kept * (1 - chance) + (1 - kept) * chance).mean(dim=1)
    torch.testing.assert_close(score.distances(seen.path)[0], expected)


def test_at_least_one_neighbour_has_to_be_kept() -> None:
    with pytest.raises(ValueError, match=r"at least 1\. Found 0"):
        HammingNeighbours(LAYOUT, 4, per_class=0)


def some_path(bits: torch.Tensor) -> PathVectors:
    zeros = torch.zeros(bits.shape)
    return PathVectors(layout=LAYOUT, bits=bits, logits=zeros, activations=zeros)


def assert_costs(found, costs, predicted):
    """Own cost, and own less that of the other class which the whole path fits best."""
    rows = torch.arange(len(predicted))
    own = costs[rows, predicted]
    total = costs.sum(dim=2)
    total[rows, predicted] = torch.inf
    other = costs[rows, total.argmin(dim=1)]
    torch.testing.assert_close(found.own.double(), own, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.margin.double(), own - other, rtol=1e-4, atol=1e-3)
