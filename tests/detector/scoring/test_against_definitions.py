"""The scores against their definitions, written out class by class and layer by layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.covariance import oas

from detector.paths import PathLayout
from detector.scoring import BernoulliScore, GateLogitDistance, PathStatistics
from detector.scoring.mahalanobis import oas_shrinkage

LAYOUT = PathLayout(names=("one", "two", "three"), sizes=(5, 4, 5))


@pytest.fixture
def clean(make_paths):
    labels = torch.arange(400) % 4
    return make_paths(labels, LAYOUT), labels


@pytest.fixture
def probe(make_paths):
    labels = torch.arange(7) % 4
    return make_paths(labels, LAYOUT, seed=1), labels


def test_bernoulli_is_the_log_likelihood_of_shrunken_rates(clean, probe):
    path, labels = clean
    score = BernoulliScore(LAYOUT, 4, kappa=10).fit(PathStatistics.of(path, labels, 4))
    seen, predicted = probe
    found = score(seen, predicted)
    bits = path.bits.double()
    costs = torch.zeros(7, 4, 3, dtype=torch.float64)
    for layer, part in enumerate(LAYOUT.slices):
        mean = bits[:, part].mean()
        for label in range(4):
            own = bits[labels == label][:, part]
            rates = (own.sum(dim=0) + 10 * mean) / (len(own) + 10)
            each = torch.where(seen.bits[:, part], rates.log(), (1 - rates).log())
            costs[:, label, layer] = -each.sum(dim=1)
    assert_costs(found, costs, predicted)


def test_mahalanobis_is_the_distance_under_a_tied_shrunken_covariance(clean, probe):
    path, labels = clean
    score = GateLogitDistance(LAYOUT, 4).fit(PathStatistics.of(path, labels, 4))
    seen, predicted = probe
    found = score(seen, predicted)
    values = path.logits.double()
    costs = torch.zeros(7, 4, 3, dtype=torch.float64)
    for layer, part in enumerate(LAYOUT.slices):
        means = torch.stack([values[labels == label][:, part].mean(dim=0) for label in range(4)])
        centred = (values[:, part] - means[labels]).numpy()
        covariance, share = oas(centred, assume_centered=True)
        assert share > 0.01  # above the least shrinkage, so that the two can be compared
        precision = torch.from_numpy(np.linalg.inv(covariance))
        for label in range(4):
            away = seen.logits[:, part].double() - means[label]
            costs[:, label, layer] = ((away @ precision) * away).sum(dim=1)
    assert_costs(found, costs, predicted)


def test_the_shrinkage_is_that_of_scikit_learn():
    centred = np.random.default_rng(0).normal(size=(30, 6)) * np.arange(1, 7)
    _, expected = oas(centred, assume_centered=True)
    covariance = torch.from_numpy(centred.T @ centred / 30)
    assert float(oas_shrinkage(covariance, 30)) == pytest.approx(expected)


def assert_costs(found, costs, predicted):
    """Own cost, and own less that of the other class which the whole path fits best."""
    rows = torch.arange(len(predicted))
    own = costs[rows, predicted]
    total = costs.sum(dim=2)
    total[rows, predicted] = torch.inf
    other = costs[rows, total.argmin(dim=1)]
    torch.testing.assert_close(found.own.double(), own, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.margin.double(), own - other, rtol=1e-4, atol=1e-3)
