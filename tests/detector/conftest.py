"""Synthetic paths, and a small pipeline on a real backbone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from detector.conformal import ConformalTable, Promise
from detector.decoupling import Backbone, DecoupledNetwork
from detector.paths import PathLayout, PathVectors
from detector.pipeline import Pipeline
from detector.preprocessing import Preprocessing
from detector.scoring import PathFeatures, PathStatistics, Suspicion, TreeArrays, TreeEnsemble
from detector.weights import NetworkInfo, build_network

PathMaker = Callable[..., PathVectors]


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
def suspicion(resnet20: DecoupledNetwork, make_paths: PathMaker) -> Suspicion:
    """Fitted on synthetic paths; three stumps on sums over all layers."""
    layout = resnet20.layout
    labels = torch.arange(300) % 3
    path = make_paths(labels, layout)
    features = PathFeatures(layout, 3).fit(PathStatistics.of(path, labels, 3))
    features.standardise(features.measure(path, torch.randn(300, 3), labels))
    stumps = [
        TreeArrays(
            feature=torch.tensor([len(features.names) - place, 0, 0]),
            threshold=torch.tensor([0.1, 0.0, 0.0], dtype=torch.float64),
            left=torch.tensor([1, -1, -1]),
            right=torch.tensor([2, -1, -1]),
            value=torch.tensor([0.0, -1.0, 2.0**place], dtype=torch.float64),
        )
        for place in (1, 3, 5)
    ]
    return Suspicion(features, TreeEnsemble.of(stumps, offset=0.5))


@pytest.fixture
def make_pipeline(
    resnet20: DecoupledNetwork, suspicion: Suspicion, network_info: NetworkInfo
) -> Callable[..., Pipeline]:
    """A pipeline with so many calibration images of each class, whose scores are evenly spread."""

    def make(counts: tuple[int, ...] = (100, 100, 100), alpha: float = 0.05) -> Pipeline:
        scores = torch.cat([torch.linspace(-5, 5, count) for count in counts])
        predicted = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        return Pipeline(
            network=resnet20,
            suspicion=suspicion,
            conformal=ConformalTable(scores, predicted, len(counts), promise=Promise()),
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
