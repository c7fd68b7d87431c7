"""Synthetic paths, and a small pipeline of three levels on a real backbone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from detector.conformal import ConformalTable, Promise
from detector.decoupling import Backbone, DecoupledNetwork
from detector.paths import PathLayout, PathVectors
from detector.pipeline import Level, LevelName, Pipeline
from detector.preprocessing import Preprocessing
from detector.scoring import (
    CleanImages,
    LearntFusion,
    Observation,
    OneClassFusion,
    PathScores,
    PathStatistics,
    Statistics,
    Suspicion,
    TreeArrays,
    TreeEnsemble,
    one_class_witnesses,
)
from detector.weights import NetworkInfo, build_network

PathMaker = Callable[..., PathVectors]
SeenMaker = Callable[..., Observation]

LEVELS = {
    LevelName.FAST: (),
    LevelName.STANDARD: ("flip",),
    LevelName.THOROUGH: ("flip", "shift:left", "scale:0.75"),
}


@pytest.fixture
def make_paths() -> PathMaker:
    """Paths of some classes: each class has its own means, the same whatever the seed."""

    def make(
        labels: Tensor, layout: PathLayout, *, seed: int = 0, strangeness: float = 0.0
    ) -> PathVectors:
        means = torch.randn(10, 2, layout.gates, generator=torch.Generator().manual_seed(99))
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(labels), 2, layout.gates, generator=generator)
        mixed = noise + strangeness * torch.randn(noise.shape, generator=generator)
        logits, pooled = (means[labels] + mixed).unbind(dim=1)
        bits = logits > 0
        return PathVectors(layout=layout, bits=bits, logits=logits, activations=pooled * bits)

    return make


@pytest.fixture
def make_seen(make_paths: PathMaker) -> SeenMaker:
    """What a network tells of images of some classes, and of copies of them."""

    def make(
        predicted: Tensor,
        layout: PathLayout,
        *,
        classes: int = 3,
        paths_of: Tensor | None = None,
        copies: tuple[str, ...] = (),
        seed: int = 0,
        strangeness: float = 0.0,
    ) -> Observation:
        """Images predicted as a class, with paths of another one where `paths_of` says so."""
        labels = predicted if paths_of is None else paths_of
        noise = torch.randn(len(labels), classes, generator=torch.Generator().manual_seed(seed))
        return Observation(
            path=make_paths(labels, layout, seed=seed, strangeness=strangeness),
            # Noise that is cut off cannot change the predicted class.
            class_logits=5 * functional.one_hot(predicted, classes) + noise.clamp(-2, 2),
            copies={
                name: make(
                    predicted,
                    layout,
                    classes=classes,
                    paths_of=paths_of,
                    seed=1000 * place + seed,
                    strangeness=strangeness,
                )
                for place, name in enumerate(copies, start=1)
            },
        )

    return make


@pytest.fixture
def make_clean(make_seen: SeenMaker) -> Callable[..., CleanImages]:
    """Clean images of all classes in turn, to fit scores on."""

    def make(count: int, layout: PathLayout, *, classes: int = 3, seed: int = 0) -> CleanImages:
        labels = torch.arange(count) % classes
        sample = make_seen(labels, layout, classes=classes, seed=seed)
        return CleanImages(
            statistics=PathStatistics.of(sample.path, labels, classes),
            sample=sample,
            labels=labels,
            image_ids=1000 + torch.arange(count),
        )

    return make


@pytest.fixture
def network_info() -> NetworkInfo:
    side = Preprocessing(
        height=8, width=8, shorter_side=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )
    return NetworkInfo(
        backbone=Backbone.CIFAR_RESNET20,
        class_names=("cat", "dog", "frog"),
        preprocessing=side,
        provenance={"seed": 7},
    )


@pytest.fixture
def resnet20(network_info: NetworkInfo) -> DecoupledNetwork:
    """Untrained, with gates of both states."""
    torch.manual_seed(0)
    network = build_network(network_info)
    for controller in network.controllers:
        nn.init.normal_(controller.excite.weight)
        nn.init.zeros_(controller.excite.bias)
    return network.eval()


@pytest.fixture
def path_scores(resnet20: DecoupledNetwork, make_clean: Callable[..., CleanImages]) -> PathScores:
    """Fitted on synthetic paths."""
    return PathScores(resnet20.layout, 3).fit(make_clean(300, resnet20.layout)).eval()


@pytest.fixture
def suspicion(path_scores: PathScores, make_seen: SeenMaker) -> Callable[..., Suspicion]:
    """One-class for some copies, fitted on synthetic paths; or learnt: stumps on three sums."""

    def make(copies: tuple[str, ...] = (), *, learnt: bool = False) -> Suspicion:
        statistics = Statistics(path_scores, copies)
        if learnt:
            return Suspicion(statistics, LearntFusion(len(statistics.names), stumps(statistics)))
        labels = torch.arange(200) % 3
        seen = make_seen(labels, path_scores.layout, copies=copies, seed=5)
        fusion = OneClassFusion(statistics.names, one_class_witnesses(copies))
        return Suspicion(statistics, fusion.fit(statistics(seen)))

    return make


def stumps(statistics: Statistics) -> TreeEnsemble:
    """Three trees of one split each, on sums over all layers."""
    sums = ("bits/own:all", "gate-logits/own:all", "activations/own:all")
    trees = [
        TreeArrays(
            feature=torch.tensor([statistics.names.index(name), 0, 0]),
            threshold=torch.tensor([0.1, 0.0, 0.0], dtype=torch.float64),
            left=torch.tensor([1, -1, -1]),
            right=torch.tensor([2, -1, -1]),
            value=torch.tensor([0.0, -1.0, 2.0**place], dtype=torch.float64),
        )
        for place, name in enumerate(sums)
    ]
    return TreeEnsemble.of(trees, offset=0.5)


@pytest.fixture
def make_pipeline(
    resnet20: DecoupledNetwork, suspicion: Callable[..., Suspicion], network_info: NetworkInfo
) -> Callable[..., Pipeline]:
    """A pipeline of three levels, with so many calibration images of each class.

    Its calibration scores are evenly spread. The thorough level is learnt, the others one-class.
    """
    suspicions = {
        name: suspicion(copies, learnt=name is LevelName.THOROUGH)
        for name, copies in LEVELS.items()
    }

    def make(
        counts: tuple[int, ...] = (100, 100, 100),
        alpha: float = 0.05,
        levels: tuple[LevelName, ...] = tuple(LEVELS),
    ) -> Pipeline:
        predicted = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))

        def conformal(name: LevelName) -> ConformalTable:
            furthest = 12.0 + list(LEVELS).index(name)  # each level has a calibration of its own
            scores = torch.cat([torch.linspace(0, furthest, count) for count in counts])
            return ConformalTable(scores, predicted, len(counts), promise=Promise())

        return Pipeline(
            network=resnet20,
            levels=[
                Level(name=name, suspicion=suspicions[name], conformal=conformal(name))
                for name in levels
            ],
            preprocessing=network_info.preprocessing,
            class_names=network_info.class_names,
            alpha=alpha,
        )

    return make


@pytest.fixture
def images() -> Tensor:
    """Images of the size that the pipeline takes, uint8 of shape (6, 3, 8, 8)."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (6, 3, 8, 8), generator=generator, dtype=torch.uint8)
