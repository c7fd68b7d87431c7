"""Fitted trees as arrays decide as scikit-learn does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.ensemble import (
    AdaBoostClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from detector.scoring import TreeArrays, TreeEnsemble
from detector.scoring.classifiers import (
    AdaBoost,
    ClassifierName,
    GradientBoosting,
    RandomForest,
    classifier_of,
)


def features(count: int, *, seed: int) -> Tensor:
    """Continuous features, and coarse ones whose values fall on thresholds."""
    generator = torch.Generator().manual_seed(seed)
    fine = torch.randn(count, 6, generator=generator)
    coarse = torch.randint(0, 4, (count, 6), generator=generator) / 3
    return torch.cat([fine, coarse], dim=1)


def truth(values: Tensor, *, seed: int) -> Tensor:
    noise = torch.randn(len(values), generator=torch.Generator().manual_seed(seed))
    return values[:, 0] * values[:, 7] + values[:, 8] + 0.5 * noise > 0.5


@pytest.fixture
def fitting():
    values = features(400, seed=0)
    return values, truth(values, seed=1)


@pytest.fixture
def probe():
    """New rows, the fitted ones, and rows that stand exactly on float64 thresholds."""
    return torch.cat([features(500, seed=2), features(400, seed=0)])


@pytest.fixture
def weights():
    return torch.rand(400, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + 0.1


@pytest.mark.parametrize("depth", [None, 4])
def test_random_forest_gives_its_probability(fitting, probe, weights, depth):
    values, attacked = fitting
    found = RandomForest(trees=30, depth=depth).fit(values, attacked, weights=weights, seed=5)
    expected = RandomForestClassifier(30, max_depth=depth, random_state=5).fit(
        values.numpy(), attacked.numpy(), sample_weight=weights.numpy()
    )
    np.testing.assert_allclose(
        found(probe).numpy(), expected.predict_proba(probe.numpy())[:, 1], rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("depth", [1, 3])
def test_adaboost_gives_its_decision(fitting, probe, weights, depth):
    values, attacked = fitting
    found = AdaBoost(trees=30, depth=depth).fit(values, attacked, weights=weights, seed=5)
    expected = AdaBoostClassifier(
        DecisionTreeClassifier(max_depth=depth), n_estimators=30, random_state=5
    ).fit(values.numpy(), attacked.numpy(), sample_weight=weights.numpy())
    np.testing.assert_allclose(
        found(probe).numpy(), expected.decision_function(probe.numpy()), rtol=0, atol=1e-9
    )


def test_gradient_boosting_gives_its_log_odds(fitting, probe, weights):
    values, attacked = fitting
    boosting = GradientBoosting(trees=30)
    found = boosting.fit(values, attacked, weights=weights, seed=5)
    expected = GradientBoostingClassifier(
        n_estimators=30,
        max_depth=boosting.depth,
        learning_rate=boosting.learning_rate,
        subsample=boosting.subsample,
        max_features=boosting.features,
        random_state=5,
    ).fit(values.numpy(), attacked.numpy(), sample_weight=weights.numpy())
    np.testing.assert_allclose(
        found(probe).numpy(), expected.decision_function(probe.numpy()), rtol=0, atol=1e-9
    )


def test_a_perfect_adaboost_stops_early_and_still_agrees(probe):
    values = features(100, seed=0)
    attacked = values[:, 0] > 0
    found = AdaBoost().fit(values, attacked)
    expected = AdaBoostClassifier(
        DecisionTreeClassifier(max_depth=1), n_estimators=200, random_state=0
    ).fit(values.numpy(), attacked.numpy())
    np.testing.assert_allclose(found(probe).numpy(), expected.decision_function(probe.numpy()))


@pytest.mark.parametrize("name", ClassifierName)
def test_each_named_classifier_learns_from_raw_bits(name):
    bits = torch.rand(300, 40, generator=torch.Generator().manual_seed(0)) > 0.5
    attacked = bits[:, 3] ^ bits[:, 7] if name is not ClassifierName.ADABOOST else bits[:, 3]
    trees = classifier_of(name).fit(bits, attacked)
    scores = trees(bits.float())
    assert float(scores[attacked].min()) > float(scores[~attacked].max())


def test_the_same_seed_gives_the_same_trees(fitting):
    values, attacked = fitting
    first, second = (GradientBoosting(trees=5).fit(values, attacked, seed=3) for _ in range(2))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_trees_come_back_from_their_state(fitting, probe):
    values, attacked = fitting
    trees = RandomForest(trees=5).fit(values, attacked)
    again = TreeEnsemble(**{k: v.clone() for k, v in trees.state_dict().items()})
    assert torch.equal(again(probe), trees(probe))


def test_a_score_does_not_depend_on_the_rest_of_the_batch(fitting, probe):
    trees = GradientBoosting(trees=50).fit(*fitting)
    alone = torch.cat([trees(probe[row : row + 1]) for row in range(20)])
    assert torch.equal(alone.float(), trees(probe)[:20].float())


def test_a_single_leaf_is_a_tree():
    leaf = TreeArrays(
        feature=torch.tensor([-2]),
        threshold=torch.tensor([-2.0], dtype=torch.float64),
        left=torch.tensor([-1]),
        right=torch.tensor([-1]),
        value=torch.tensor([0.25], dtype=torch.float64),
    )
    trees = TreeEnsemble.of([leaf], offset=1.0)
    assert trees(torch.zeros(2, 1)).tolist() == [1.25, 1.25]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("left", torch.tensor([1, 1, 0])),  # a leaf that leads back to the root
        ("left", torch.tensor([2, 1, 2])),  # a child beyond the last node
        ("roots", torch.tensor([3])),
        ("roots", torch.tensor([], dtype=torch.int64)),
        ("value", torch.zeros(2, dtype=torch.float64)),
        ("feature", torch.tensor([-1, 0, 0])),
    ],
)
def test_arrays_that_are_no_forest_are_refused(name, value):
    arrays = {
        "feature": torch.tensor([0, 0, 0]),
        "threshold": torch.tensor([0.0, torch.inf, torch.inf]),
        "left": torch.tensor([1, 1, 2]),
        "value": torch.zeros(3, dtype=torch.float64),
        "roots": torch.tensor([0]),
        "offset": torch.tensor(0.0, dtype=torch.float64),
    }
    TreeEnsemble(**arrays)
    with pytest.raises(ValueError, match="should be arrays of equal length"):
        TreeEnsemble(**{**arrays, name: value})


def test_one_kind_alone_is_refused():
    with pytest.raises(ValueError, match="Both clean and attacked"):
        GradientBoosting().fit(torch.zeros(4, 2), torch.zeros(4, dtype=torch.bool))


def test_features_that_are_not_finite_are_refused():
    values = torch.tensor([[0.0], [torch.nan]])
    with pytest.raises(ValueError, match="finite"):
        GradientBoosting().fit(values, torch.tensor([False, True]))


def test_features_and_truth_have_to_be_as_many():
    with pytest.raises(ValueError, match=r"shape \(N, F\)"):
        GradientBoosting().fit(torch.zeros(4, 2), torch.ones(3, dtype=torch.bool))
