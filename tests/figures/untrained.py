"""Bundles of networks that learnt nothing: their verdicts mean nothing, and cost what others do."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from detector.bundle import save_bundle
from detector.conformal import ConformalTable, Promise
from detector.decoupling import DecoupledNetwork
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

__all__ = ["fast_pipeline", "save_untrained"]

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
    pipeline = _pipeline(network, info, images, LevelName.STANDARD, _COPIES)
    save_bundle(folder, pipeline, info, provenance={"created": CREATED})


def fast_pipeline(network: DecoupledNetwork, info: NetworkInfo, images: Tensor) -> Pipeline:
    """The pipeline of a network at the level of one pass, calibrated in the same way.

    Args:
        network: In evaluation mode.
        info: What it is.
        images: What it is calibrated on, uint8 of shape (N, 3, H, W).
    """
    return _pipeline(network, info, images, LevelName.FAST, ())


def _pipeline(
    network: DecoupledNetwork,
    info: NetworkInfo,
    images: Tensor,
    level: LevelName,
    copies: tuple[str, ...],
) -> Pipeline:
    classes = len(info.class_names)
    seen = Observation.concatenate(
        [observe(network, info.preprocessing, batch, copies) for batch in images.split(_BATCH)]
    )
    scores = path_scores(network, seen, classes)
    return Pipeline(
        network=network,
        levels=[_level(scores, seen, classes, level, copies)],
        preprocessing=info.preprocessing,
        class_names=info.class_names,
        alpha=0.05,
    )


@torch.inference_mode()
def _level(
    scores: PathScores, seen: Observation, classes: int, name: LevelName, copies: tuple[str, ...]
) -> Level:
    statistics = Statistics(scores, copies)
    fusion = OneClassFusion(statistics.names, one_class_witnesses(copies))
    suspicion = Suspicion(statistics, fusion.fit(statistics(seen)).eval())
    found: Tensor = suspicion(seen).scores
    own = found.repeat(-(-_LEAST_CALIBRATION // len(found)))
    return Level(
        name=name,
        suspicion=suspicion,
        conformal=ConformalTable(
            own.repeat(classes),
            torch.arange(classes).repeat_interleave(len(own)),
            classes,
            promise=Promise(),
        ),
    )
