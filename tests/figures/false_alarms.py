"""Whether the false-alarm promise is kept on images that nothing was fitted or calibrated on."""

from __future__ import annotations

import numpy as np
import torch

from detector.jobs.evaluation.estimates import clopper_pearson
from detector.pipeline import LevelName
from tests.figures.bench import Bench
from tests.figures.figure import Figure, share_text

__all__ = ["false_alarms"]

_POOLED_TARGETS = {0.05: 0.055, 0.01: 0.013}


def false_alarms(bench: Bench) -> list[Figure]:
    """Share of clean test images that are flagged at each level, pooled and per predicted class."""
    figures = []
    for level in bench.pipeline.levels:
        predicted = bench.clean_at[level].predicted
        for alpha, target in _POOLED_TARGETS.items():
            flagged = _flagged(bench, level, alpha)
            figures.append(
                Figure(
                    name=f"false alarms at budget {alpha:.0%}, {level}, all classes",
                    target=f"<= {target:.1%}",
                    measured=share_text(int(flagged.sum()), len(flagged)),
                    holds=bool(flagged.mean() <= target),
                )
            )
            classes = range(len(bench.pipeline.class_names))
            above = [c for c in classes if flagged[predicted == c].mean() > alpha]
            figures.append(
                Figure(
                    name=f"false alarms at budget {alpha:.0%}, {level}, classes above it",
                    target="none",
                    measured=f"{len(above)} of {len(classes)}",
                    holds=not above,
                )
            )
            figures += [
                _of_class(f"{alpha:.0%}, {level}, predicted {name}", flagged[predicted == c], alpha)
                for c, name in enumerate(bench.pipeline.class_names)
            ]
    return figures


def _flagged(bench: Bench, level: LevelName, alpha: float) -> np.ndarray:
    clean = bench.clean_at[level]
    flags = bench.pipeline.levels[level].conformal.flags(
        torch.from_numpy(clean.scores), torch.from_numpy(clean.predicted), alpha
    )
    return np.asarray(flags)


def _of_class(name: str, flagged: np.ndarray, alpha: float) -> Figure:
    hits = int(flagged.sum())
    low, _ = clopper_pearson(hits, len(flagged))
    return Figure(
        name=f"false alarms at budget {name}",
        target=f"{alpha:.0%} not below the interval",
        measured=share_text(hits, len(flagged)),
        holds=low <= alpha,
    )
