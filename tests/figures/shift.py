"""How often natural changes and mere noise are flagged at the shipped budget."""

from __future__ import annotations

import numpy as np
import torch

from detector.attacks import AttackSpec, attack_images
from detector.corruptions import CorruptionName
from tests.figures.bench import Bench
from tests.figures.figure import Figure, share_text

__all__ = ["shift"]

_ALPHA = 0.05
_NOISE = ("noise-gaussian:8/255", "noise-uniform:8/255", "noise-sign:8/255")
_NOISE_TARGET = 0.12
_NOISE_IMAGES = 1000
_MILD = (1, 2)
_MILD_TARGET = 0.15
_MILD_IMAGES = 200


def shift(bench: Bench) -> list[Figure]:
    """Share flagged at the default level, of images that nobody attacked."""
    figures, mild = [], []
    for label in _NOISE:
        flagged = _flagged(bench, label, _NOISE_IMAGES)
        figures.append(
            Figure(
                name=f"{label} flagged at budget {_ALPHA:.0%}",
                target=f"<= {_NOISE_TARGET:.0%}",
                measured=share_text(int(flagged.sum()), len(flagged)),
                holds=bool(flagged.mean() <= _NOISE_TARGET),
            )
        )
    for name in CorruptionName:
        if name is CorruptionName.RESIZE:  # not one of the fifteen
            continue
        rates = [_flagged(bench, f"{name}:{s}", _MILD_IMAGES).mean() for s in _MILD]
        mild.append(float(np.mean(rates)))
    worst = int(np.argmax(mild))
    figures.append(
        Figure(
            name=f"corruptions of severity 1-2 flagged at budget {_ALPHA:.0%}, mean of {len(mild)}",
            target=f"<= {_MILD_TARGET:.0%}",
            measured=f"{np.mean(mild):.1%}, most {mild[worst]:.1%} ({list(CorruptionName)[worst]})",
            holds=bool(np.mean(mild) <= _MILD_TARGET),
        )
    )
    return figures


def _flagged(bench: Bench, label: str, count: int) -> np.ndarray:
    pipeline, test = bench.pipeline, bench.splits.test
    pixels = bench.pixels(test, count)
    labels = torch.from_numpy(test.labels[:count])
    changed = attack_images(
        pipeline.network, pipeline.preprocessing, pixels, labels, AttackSpec.parse(label).build()
    ).images
    flags = []
    for batch in changed.split(250):
        found = pipeline.analyse(batch)
        conformal = pipeline.level(found.level).conformal
        flags.append(conformal.flags(found.scores, found.predicted, _ALPHA))
    return torch.cat(flags).numpy()
