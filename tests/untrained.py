"""What bundles of untrained networks share: their verdicts mean nothing, their parts work."""

from __future__ import annotations

import torch
from torch import Tensor

from detector.copies import parse_copy
from detector.decoupling import DecoupledNetwork
from detector.preprocessing import Preprocessing
from detector.scoring import CleanImages, Observation, PathScores, PathStatistics

__all__ = ["CREATED", "observe", "path_scores"]

CREATED = "2020-08-23T00:00:00+00:00"


@torch.inference_mode()
def observe(
    network: DecoupledNetwork,
    preprocessing: Preprocessing,
    images: Tensor,
    copies: tuple[str, ...],
) -> Observation:
    """What a network tells about images, uint8 of shape (N, 3, H, W), and their copies."""
    own, *copied = (
        network(preprocessing(each))
        for each in (images, *(parse_copy(name)(images) for name in copies))
    )
    return Observation(
        path=own.path,
        class_logits=own.class_logits,
        copies={
            name: Observation(path=copy.path, class_logits=copy.class_logits)
            for name, copy in zip(copies, copied, strict=True)
        },
    )


def path_scores(network: DecoupledNetwork, seen: Observation, classes: int) -> PathScores:
    """Scores of paths, fitted as if the images were of each class in turn."""
    labels = torch.arange(len(seen)) % classes
    clean = CleanImages(
        statistics=PathStatistics.of(seen.path, labels, classes),
        sample=seen,
        labels=labels,
        image_ids=torch.arange(len(seen)),
    )
    return PathScores(network.layout, classes).fit(clean)
