"""Synthetic observations: each class has means of its own, and the logits know the class."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from detector.paths import PathLayout
from detector.scoring.observation import Observation
from detector.scoring.score import CleanImages
from detector.scoring.statistics import PathStatistics

CLASSES = 3

ObservationMaker = Callable[..., Observation]


@pytest.fixture(scope="session")
def layout() -> PathLayout:
    """Sizes that repeat side by side and apart, as in real networks."""
    return PathLayout(names=("one", "two", "three", "four"), sizes=(6, 6, 4, 6))


@pytest.fixture
def observe(make_paths, layout) -> ObservationMaker:
    """Images of the classes 0, 1, 2, 0, ..., with copies that the network sees much alike."""

    def make(count: int, *, seed: int = 0, copies: bool = True) -> Observation:
        labels = torch.arange(count) % CLASSES
        generator = torch.Generator().manual_seed(1000 + seed)

        def seen() -> Tensor:
            return 0.3 * torch.randn(count, CLASSES, generator=generator)

        logits = 4.0 * functional.one_hot(labels, CLASSES) + 3 * seen()
        path = make_paths(labels, layout, seed=seed)
        # As of a plain network: none is zero, and no two images are alike in a layer.
        path = dataclasses.replace(path, activations=functional.softplus(path.logits))
        squeezed = {
            name: Observation(path=path, class_logits=logits + seen())
            for name in ("bits:5", "median:3")
        }
        return Observation(path=path, class_logits=logits, copies=squeezed if copies else {})

    return make


@pytest.fixture
def make_clean(observe) -> Callable[..., CleanImages]:
    """So many clean images; the sample is some of those that the sums are over."""

    def make(count: int = 600, *, sample: int = 300) -> CleanImages:
        labels = torch.arange(count) % CLASSES
        seen = observe(count, copies=False)
        return CleanImages(
            statistics=PathStatistics.of(seen.path, labels, CLASSES),
            sample=seen[:sample],
            labels=labels[:sample],
            image_ids=torch.arange(sample),
        )

    return make
