"""Whether the false-alarm promise is kept on images that nothing was fitted or calibrated on."""

from __future__ import annotations

import numpy as np
import torch

from tests.figures.bench import Bench
from tests.figures.figure import Figure, share_interval, share_text

__all__ = ["false_alarms"]

_POOLED_TARGETS = {0.05: 0.055, 0.01: 0.013}


def false_alarms(bench: Bench) -> list[Figure]:
    """Share of clean test images that are flagged, pooled and per predicted class."""
    figures = []
    for alpha, target in _POOLED_TARGETS.items():
        flagged = _flagged(bench, alpha)
        figures.append(
            Figure(
                name=f"false alarms at budget {alpha:.0%}, all classes",
                target=f"<= {target:.1%}",
                measured=share_text(int(flagged.sum()), len(flagged)),
                holds=bool(flagged.mean() <= target),
            )
        )
        figures += [
            _of_class(bench, flagged, alpha, label)
            for label in range(len(bench.pipeline.class_names))
        ]
    return figures


def _flagged(bench: Bench, alpha: float) -> np.ndarray:
    scores = torch.from_numpy(bench.clean.scores)
    predicted = torch.from_numpy(bench.clean.predicted)
    return np.asarray(bench.pipeline.conformal.flags(scores, predicted, alpha))


def _of_class(bench: Bench, flagged: np.ndarray, alpha: float, label: int) -> Figure:
    chosen = flagged[bench.clean.predicted == label]
    hits = int(chosen.sum())
    low, _ = share_interval(hits, len(chosen))
    return Figure(
        name=f"false alarms at budget {alpha:.0%}, predicted {bench.pipeline.class_names[label]}",
        target=f"{alpha:.0%} not below the interval",
        measured=share_text(hits, len(chosen)),
        holds=low <= alpha,
    )
