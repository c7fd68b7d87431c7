"""Bundles of networks that learnt nothing: their verdicts mean nothing, and cost what others do."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from detector.bundle import save_bundle
from detector.conformal import ConformalTable, Promise
from detector.pipeline import Level, LevelName, Pipeline
from detector.scoring import (
    Observation,
    OneClassFusion,
    PathScores,
    Statistics,
    Suspicion,
    one_class_witnesses,
)
from detector.weights import NetworkInfo, build_network
from tests.untrained import CREATED, observe, path_scores

__all__ = ["save_untrained"]

_COPIES = ("flip",)
_BATCH = 16
_LEAST_CALIBRATION = 100


def save_untrained(folder: Path, info: NetworkInfo, images: Tensor) -> None:
    """Write the bundle of a network with random weights, at the level of one copy.

    Args:
        folder: Where to.
        info: Which network.
        images: What it is calibrated on as if each were of every class, uint8 of shape
            (N, 3, H, W): what looks like them is then on its path, as most of traffic is.
    """
    torch.manual_seed(0)
    network = build_network(info).eval()
    classes = len(info.class_names)
    seen = Observation.concatenate(
        [observe(network, info.preprocessing, batch, _COPIES) for batch in images.split(_BATCH)]
    )
    scores = path_scores(network, seen, classes)
    pipeline = Pipeline(
        network=network,
        levels=[_level(scores, seen, classes)],
        preprocessing=info.preprocessing,
        class_names=info.class_names,
        alpha=0.05,
    )
    save_bundle(folder, pipeline, info, provenance={"created": CREATED})


@torch.inference_mode()
def _level(scores: PathScores, seen: Observation, classes: int) -> Level:
    statistics = Statistics(scores, _COPIES)
    fusion = OneClassFusion(statistics.names, one_class_witnesses(_COPIES))
    suspicion = Suspicion(statistics, fusion.fit(statistics(seen)).eval())
    found: Tensor = suspicion(seen).scores
    own = found.repeat(-(-_LEAST_CALIBRATION // len(found)))
    return Level(
        name=LevelName.STANDARD,
        suspicion=suspicion,
        conformal=ConformalTable(
            own.repeat(classes),
            torch.arange(classes).repeat_interleave(len(own)),
            classes,
            promise=Promise(),
        ),
    )
