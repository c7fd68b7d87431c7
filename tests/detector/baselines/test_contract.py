"""What every baseline keeps. A new baseline is one more row of CASES."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from detector import baselines
from detector.baselines import (
    Baseline,
    Energy,
    FeatureSqueezing,
    LayerwiseBaseline,
    LeeMahalanobis,
    LocalIntrinsicDimensionality,
    MaxSoftmax,
    NearestNeighbours,
    ReversedMaxSoftmax,
    all_baselines,
)
from detector.paths import PathLayout
from detector.scoring.observation import Observation

CLASSES = 3


def unsure(seen: Observation) -> Observation:
    return dataclasses.replace(seen, class_logits=seen.class_logits * 0.1)


def sure(seen: Observation) -> Observation:
    return dataclasses.replace(seen, class_logits=seen.class_logits * 10)


def faint(seen: Observation) -> Observation:
    return dataclasses.replace(seen, class_logits=seen.class_logits - 20)


def brittle(seen: Observation) -> Observation:
    turned = dataclasses.replace(seen, class_logits=seen.class_logits.roll(1, dims=1), copies={})
    return dataclasses.replace(seen, copies={**seen.copies, "median:3": turned})


def wild(seen: Observation) -> Observation:
    """Activations that no clean image has, in every layer."""
    noise = torch.randn(seen.path.activations.shape, generator=torch.Generator().manual_seed(5))
    path = dataclasses.replace(seen.path, activations=-30 * noise.abs())
    return dataclasses.replace(seen, path=path)


CASES = {
    MaxSoftmax: unsure,
    ReversedMaxSoftmax: sure,
    Energy: faint,
    FeatureSqueezing: brittle,
    LeeMahalanobis: wild,
    LocalIntrinsicDimensionality: wild,
    NearestNeighbours: wild,
}


@pytest.fixture(params=CASES, ids=lambda case: case.__name__)
def kind(request) -> type[Baseline]:
    return request.param


@pytest.fixture
def outlier(kind) -> Callable[[Observation], Observation]:
    """Makes images into what the baseline has to find."""
    return CASES[kind]


@pytest.fixture
def fitted(kind, layout, make_clean) -> Baseline:
    return kind(layout, CLASSES).fit(make_clean())


def test_the_table_has_a_row_for_each_baseline(layout):
    assert {type(baseline) for baseline in all_baselines(layout, CLASSES)} == set(CASES)
    exported = {getattr(baselines, name) for name in baselines.__all__}
    kinds = {each for each in exported if isinstance(each, type) and issubclass(each, Baseline)}
    assert kinds == {*CASES, Baseline, LayerwiseBaseline}


def test_names_tell_the_baselines_apart(layout):
    names = [baseline.names for baseline in all_baselines(layout, CLASSES)]
    assert all(len(each) == 1 for each in names)
    assert len(set(names)) == len(CASES)


@pytest.mark.parametrize("images", [0, 1, 9])
def test_each_image_gets_one_finite_number(images, fitted, observe):
    found = fitted(observe(images, seed=1))
    assert found.shape == (images, 1)
    assert found.dtype == torch.float32
    assert bool(found.isfinite().all())


def test_an_outlier_scores_higher_than_nearly_all_clean_images(fitted, outlier, observe):
    clean = fitted(observe(300, seed=1))
    strange = fitted(outlier(observe(30, seed=2)))
    assert float(strange.median()) > float(clean.quantile(0.95))


def test_a_score_does_not_depend_on_the_rest_of_the_batch(fitted, observe):
    seen = observe(8, seed=1)
    alone = [fitted(seen[row : row + 1]) for row in range(8)]
    torch.testing.assert_close(fitted(seen), torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_many_images_are_scored_as_few_are(fitted, observe):
    seen = observe(2100, seed=1)
    parts = [fitted(seen[start : start + 700]) for start in (0, 700, 1400)]
    torch.testing.assert_close(fitted(seen), torch.cat(parts), rtol=1e-4, atol=1e-5)


def test_the_state_is_tensors_that_restore_the_same_scores(kind, fitted, layout, observe):
    seen = observe(9, seed=1)
    state = {name: tensor.clone() for name, tensor in fitted.state_dict().items()}
    restored = kind(layout, CLASSES).restore(state)
    assert torch.equal(restored(seen), fitted(seen))


def test_fitting_twice_on_the_same_images_gives_the_same_scores(
    kind, fitted, layout, make_clean, observe
):
    again = kind(layout, CLASSES).fit(make_clean())
    assert torch.equal(again(observe(9, seed=1)), fitted(observe(9, seed=1)))


def test_few_clean_images_are_enough(kind, layout, make_clean, observe):
    score = kind(layout, CLASSES).fit(make_clean(12, sample=6))
    assert bool(score(observe(9, seed=1)).isfinite().all())


def test_layers_that_never_vary_still_give_finite_scores(kind, layout, make_clean, observe):
    """All gates of a layer can be closed for all clean images, and open for others."""
    clean = make_clean()
    still = clean.sample.path.activations.clone()
    still[:, layout.slices[1]] = 0
    still[:, layout.slices[3]] = 0
    path = dataclasses.replace(clean.sample.path, activations=still)
    statistics = type(clean.statistics).of(path, clean.labels, CLASSES)
    sample = dataclasses.replace(clean.sample, path=path)
    score = kind(layout, CLASSES).fit(
        dataclasses.replace(clean, statistics=statistics, sample=sample)
    )
    for seen in (observe(9, seed=1), observe(9)):
        assert bool(score(seen).isfinite().all())


def test_what_is_not_finite_gets_no_finite_score(fitted, observe):
    seen = observe(3, seed=1)
    for value in (torch.nan, torch.inf):
        logits, activations = seen.class_logits.clone(), seen.path.activations.clone()
        logits[1, 1] = value
        activations[1, -1] = value
        broken = dataclasses.replace(
            seen,
            class_logits=logits,
            path=dataclasses.replace(seen.path, activations=activations),
        )
        assert fitted(broken).isfinite().flatten().tolist() == [True, False, True]


def test_an_attacker_gets_a_gradient(fitted, observe):
    seen = observe(5, seed=1)
    logits = seen.class_logits.clone().requires_grad_()
    activations = seen.path.activations.clone().requires_grad_()
    path = dataclasses.replace(seen.path, activations=activations)
    fitted(dataclasses.replace(seen, class_logits=logits, path=path)).sum().backward()
    found = [each.grad for each in (logits, activations) if each.grad is not None]
    assert all(bool(gradient.isfinite().all()) for gradient in found)
    assert any(bool(gradient.any()) for gradient in found)


def test_images_of_another_network_are_refused(fitted, make_paths):
    other = PathLayout(names=("one",), sizes=(6,))
    path = make_paths(torch.zeros(2, dtype=torch.int64), other)
    with pytest.raises(ValueError, match="should have 22 gates"):
        fitted(Observation(path=path, class_logits=torch.zeros(2, CLASSES)))
