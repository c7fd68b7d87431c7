"""A real bundle of an untrained network, quick to make: its verdicts mean nothing, its parts work.

Run as a program with a folder, it writes the bundle there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from detector.scoring.features import PathFeatures

from detector.bundle import save_bundle
from detector.conformal import ConformalTable, Promise
from detector.data import CIFAR10_CLASSES
from detector.decoupling import Backbone
from detector.pipeline import Pipeline
from detector.preprocessing import CIFAR10_PREPROCESSING
from detector.scoring import Suspicion
from detector.scoring.statistics import PathStatistics
from detector.scoring.trees import TreeArrays, TreeEnsemble
from detector.weights import NetworkInfo, build_network

CLASSES = len(CIFAR10_CLASSES)


def write_real_bundle(folder: Path) -> None:
    torch.manual_seed(0)
    info = NetworkInfo(
        backbone=Backbone.CIFAR_RESNET20,
        class_names=CIFAR10_CLASSES,
        preprocessing=CIFAR10_PREPROCESSING,
    )
    network = build_network(info).eval()
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        path = network(CIFAR10_PREPROCESSING(images)).path
    features = PathFeatures(network.layout, CLASSES)
    features.fit(PathStatistics.of(path, torch.arange(40) % CLASSES, CLASSES))
    predicted = torch.arange(100 * CLASSES) % CLASSES
    pipeline = Pipeline(
        network=network,
        suspicion=Suspicion(features, TreeEnsemble.of([_stump()])),
        conformal=ConformalTable(torch.rand(len(predicted)), predicted, CLASSES, promise=Promise()),
        preprocessing=CIFAR10_PREPROCESSING,
        class_names=CIFAR10_CLASSES,
        alpha=0.05,
    )
    save_bundle(folder, pipeline, info, provenance={"created": "2020-08-23T00:00:00+00:00"})


def _stump() -> TreeArrays:
    return TreeArrays(
        feature=torch.tensor([0, 0, 0]),
        threshold=torch.tensor([0.0, 0.0, 0.0], dtype=torch.float64),
        left=torch.tensor([1, -1, -1]),
        right=torch.tensor([2, -1, -1]),
        value=torch.tensor([0.0, 0.2, 0.9], dtype=torch.float64),
    )


if __name__ == "__main__":
    write_real_bundle(Path(sys.argv[1]))
