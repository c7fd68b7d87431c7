"""What the classifier reads, and the score it comes to."""

from __future__ import annotations

import math

import pytest
import torch
from detector.scoring.features import logit_statistics

from detector.paths import PathLayout
from detector.scoring import (
    PathFeatures,
    PathStatistics,
    Suspicion,
    TreeArrays,
    TreeEnsemble,
)

LAYOUT = PathLayout(names=("one", "two", "three"), sizes=(6, 4, 6))


@pytest.fixture
def features(make_paths):
    labels = torch.arange(300) % 3
    path = make_paths(labels, LAYOUT)
    fitted = PathFeatures(LAYOUT, 3).fit(PathStatistics.of(path, labels, 3))
    other = make_paths(labels, LAYOUT, seed=5)
    fitted.standardise(fitted.measure(other, class_logits(300), labels))
    return fitted


def class_logits(count: int):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(0))


def test_every_feature_has_a_name_and_clean_images_are_standardised(features, make_paths):
    labels = torch.arange(300) % 3
    found = features(make_paths(labels, LAYOUT, seed=5), class_logits(300), labels)
    assert found.values.shape == (300, len(features.names))
    assert len(set(features.names)) == len(features.names)
    per_layer = found.values[:, :-6]
    torch.testing.assert_close(per_layer.mean(dim=0), torch.zeros(21), atol=1e-4, rtol=0)
    torch.testing.assert_close(per_layer.std(dim=0, correction=0), torch.ones(21))


def test_sums_over_layers_are_features_of_their_own(features, make_paths):
    labels = torch.arange(9) % 3
    found = features(make_paths(labels, LAYOUT, seed=6), class_logits(9), labels).values
    place = {name: index for index, name in enumerate(features.names)}
    each = [found[:, place[f"activations-own:{layer}"]] for layer in LAYOUT.names]
    torch.testing.assert_close(found[:, place["activations-own:all"]], sum(each))


def test_the_layers_weights_are_shares_and_name_the_strange_layer(features, make_paths):
    labels = torch.arange(9) % 3
    path = make_paths(labels, LAYOUT, seed=6)
    path.logits[:, LAYOUT.slices[1]] += 20
    weights = features(path, class_logits(9), labels).layer_weights
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(9))
    assert bool((weights >= 0).all())
    assert weights.argmax(dim=1).tolist() == [1] * 9


def test_the_logits_statistics_are_those_of_the_softmax():
    logits = torch.tensor([[2.0, 1.0, -1.0]])
    log_probability, margin, energy = logit_statistics(logits)[0].tolist()
    assert log_probability == pytest.approx(math.log(float(logits.softmax(dim=1)[0, 0])))
    assert margin == pytest.approx(1.0)
    assert energy == pytest.approx(math.log(sum(math.exp(x) for x in (2, 1, -1))))


@pytest.fixture
def stump():
    return TreeEnsemble.of(
        [
            TreeArrays(
                feature=torch.tensor([0, 0, 0]),
                threshold=torch.tensor([0.0, 0.0, 0.0], dtype=torch.float64),
                left=torch.tensor([1, -1, -1]),
                right=torch.tensor([2, -1, -1]),
                value=torch.tensor([0.0, -1.0, 1.0], dtype=torch.float64),
            )
        ]
    )


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("where", ["logits", "activations", "class_logits"])
def test_what_is_not_finite_shows_in_the_score(features, stump, make_paths, bad, where):
    labels = torch.arange(3)
    path, logits = make_paths(labels, LAYOUT), class_logits(3)
    target = logits if where == "class_logits" else getattr(path, where)
    target[1, 2] = bad
    scores = Suspicion(features, stump)(path, logits, labels).scores
    if where == "class_logits" and bad == -torch.inf:
        assert bool(scores.isfinite().all())  # an impossible class is no fault
    else:
        assert scores.isnan().tolist() == [False, True, False]


def test_the_detector_comes_back_from_its_state(features, stump, make_paths):
    labels = torch.arange(9) % 3
    path, logits = make_paths(labels, LAYOUT, seed=6), class_logits(9)
    before = Suspicion(features, stump)
    state = {name: tensor.clone() for name, tensor in before.state_dict().items()}
    after = Suspicion.from_state(LAYOUT, 3, state)
    found, expected = after(path, logits, labels), before(path, logits, labels)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.layer_weights, expected.layer_weights)


def test_trees_that_read_more_than_there_is_are_refused(features):
    greedy = TreeEnsemble(
        feature=torch.tensor([1000]),
        threshold=torch.tensor([torch.inf]),
        left=torch.tensor([0]),
        value=torch.zeros(1, dtype=torch.float64),
        roots=torch.tensor([0]),
        offset=torch.tensor(0.0, dtype=torch.float64),
    )
    with pytest.raises(ValueError, match="at most 27 features"):
        Suspicion(features, greedy)
