"""Clean paths to imitate are drawn from the fit split, and none other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detector.data import ArraySource, Splits
from detector.jobs.evaluation import adaptive_attackers
from detector.jobs.evaluation.adaptive_attackers import drawn_guides
from detector.jobs.evaluation.adaptive_target import target_of


@pytest.fixture
def splits(network_info) -> Splits:
    generator = np.random.default_rng(0)
    train, test = (
        ArraySource(
            generator.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8),
            np.arange(count) % 3,
            network_info.class_names,
        )
        for count in (300, 60)
    )
    return Splits.divide(train, test, preprocessing=network_info.preprocessing, fit_share=0.4)


@pytest.fixture
def seen(splits, make_pipeline, monkeypatch):
    """Draws guides, and tells which images were looked at for them and what they were called."""
    pipeline = make_pipeline()
    target = target_of(pipeline, pipeline.level("fast"), torch.zeros(2, 3, 8, 8).byte())
    shown = []

    def kept(_, images, labels):
        shown.append((images, labels))

    monkeypatch.setattr(adaptive_attackers.Guides, "of", kept)

    def draw(seed: int):
        drawn_guides(target, splits.fit, splits.preprocessing, seed=seed)
        return shown.pop()

    return draw


def test_guides_are_fit_images_with_their_own_labels(splits, seen):
    images, labels = seen(0)
    fit = splits.fit.read(range(len(splits.fit)), splits.preprocessing)
    own = {
        image.numpy().tobytes(): label for image, label in zip(fit, splits.fit.labels, strict=True)
    }
    assert len(own) == len(images) == len(splits.fit)
    assert [own[image.numpy().tobytes()] for image in images] == labels.tolist()


def test_as_many_are_drawn_of_each_class_by_the_seed(splits, seen, monkeypatch):
    monkeypatch.setattr(adaptive_attackers, "_GUIDES_PER_CLASS", 10)
    images, labels = seen(3)
    assert torch.bincount(labels).tolist() == [10, 10, 10]
    assert torch.equal(images, seen(3)[0])
    assert not torch.equal(images, seen(4)[0])
