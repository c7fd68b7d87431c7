"""Attackers find a gradient at every level, and verdicts never come from what stands in for one."""

from __future__ import annotations

import pytest
import torch

from detector.attacks.adaptive.observation import judge, observe
from detector.decoupling import Relaxed
from detector.jobs.evaluation import adaptive_target
from detector.jobs.evaluation.adaptive_target import target_of


def gradient_of(target, score, images):
    scaled = target.preprocessing.scale(images).requires_grad_()
    scores = score(observe(target, scaled, Relaxed()))
    if not scores.requires_grad:
        return None
    return torch.autograd.grad(scores.sum(), scaled)[0]


@pytest.mark.parametrize("name", ["fast", "standard"])
def test_a_one_class_level_is_differentiated_itself(make_pipeline, images, name):
    pipeline = make_pipeline()
    target = target_of(pipeline, pipeline.level(name), images)
    assert target.surrogate is None
    gradient = gradient_of(target, target.smooth_score, images)
    assert bool(gradient.isfinite().all())
    assert bool((gradient != 0).any())


def test_a_learnt_level_is_differentiated_through_soft_trees(make_pipeline, images):
    pipeline = make_pipeline()
    target = target_of(pipeline, pipeline.level("thorough"), images)
    assert gradient_of(target, target.score, images) is None
    gradient = gradient_of(target, target.smooth_score, images)
    assert bool(gradient.isfinite().all())
    assert bool((gradient != 0).any())


def test_soft_trees_become_the_hard_ones_as_they_sharpen(make_pipeline, images, monkeypatch):
    monkeypatch.setattr(adaptive_target, "_TEMPERATURE", 1e-9)
    pipeline = make_pipeline()
    target = target_of(pipeline, pipeline.level("thorough"), images)
    seen = pipeline.observe(images, target.copies)
    soft, hard = target.smooth_score(seen), target.score(seen)
    assert torch.allclose(soft, hard)


@pytest.mark.parametrize("name", ["fast", "standard", "thorough"])
def test_candidates_are_judged_as_the_pipeline_judges(make_pipeline, images, name):
    pipeline = make_pipeline()
    target = target_of(pipeline, pipeline.level(name), images)
    expected = pipeline.analyse(images, name)
    found = judge(target, images)
    assert torch.equal(found.predicted, expected.predicted)
    assert torch.allclose(found.scores.double(), expected.scores.double(), atol=1e-3)
