"""A real bundle of an untrained network, quick to make: its verdicts mean nothing, its parts work.

Run as a program with a folder, it writes the bundle there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from detector.bundle import save_bundle
from detector.conformal import ConformalTable, Promise
from detector.data import CIFAR10_CLASSES
from detector.decoupling import Backbone
from detector.pipeline import Level, LevelName, Pipeline
from detector.preprocessing import CIFAR10_PREPROCESSING
from detector.scoring import (
    Fusion,
    LearntFusion,
    Observation,
    OneClassFusion,
    PathScores,
    Statistics,
    Suspicion,
    TreeArrays,
    TreeEnsemble,
    one_class_witnesses,
)
from detector.weights import NetworkInfo, build_network
from tests.untrained import CREATED, observe, path_scores

CLASSES = len(CIFAR10_CLASSES)
COPIES = ("flip", "shift:left", "scale:0.75")


def write_real_bundle(folder: Path) -> None:
    torch.manual_seed(0)
    info = NetworkInfo(
        backbone=Backbone.CIFAR_RESNET20,
        class_names=CIFAR10_CLASSES,
        preprocessing=CIFAR10_PREPROCESSING,
    )
    network = build_network(info).eval()
    noise = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8)
    seen = observe(network, CIFAR10_PREPROCESSING, noise, COPIES)
    scores = path_scores(network, seen, CLASSES)
    pipeline = Pipeline(
        network=network,
        levels=[
            _level(LevelName.STANDARD, scores, seen, COPIES[:1]),
            _level(LevelName.FAST, scores, seen, ()),
            _level(LevelName.THOROUGH, scores, seen, COPIES),
        ],
        preprocessing=CIFAR10_PREPROCESSING,
        class_names=CIFAR10_CLASSES,
        alpha=0.05,
    )
    save_bundle(folder, pipeline, info, provenance={"created": CREATED})


def _level(
    name: LevelName, scores: PathScores, seen: Observation, copies: tuple[str, ...]
) -> Level:
    """A level with calibration scores out of thin air; the one without copies is learnt."""
    statistics = Statistics(scores, copies)
    with torch.inference_mode():
        values = statistics(seen)
    fusion: Fusion = LearntFusion(values.shape[1], TreeEnsemble.of([_stump()]))
    if copies:
        fusion = OneClassFusion(statistics.names, one_class_witnesses(copies)).fit(values)
    predicted = torch.arange(100 * CLASSES) % CLASSES
    return Level(
        name=name,
        suspicion=Suspicion(statistics, fusion.eval()),
        conformal=ConformalTable(torch.rand(len(predicted)), predicted, CLASSES, promise=Promise()),
    )


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
