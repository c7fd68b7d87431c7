"""The attackers of an evaluation who know the detector and follow its gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from detector.attacks.adaptive import (
    GuideMatching,
    Guides,
    JointPgd,
    OrthogonalPgd,
    SelectivePgd,
    Target,
)
from detector.attacks.adaptive.descent import Descent
from detector.data import FitImages
from detector.jobs.evaluation.plan import AdaptivePlan
from detector.preprocessing import Preprocessing

__all__ = ["Attacker", "attackers", "drawn_guides"]

Attacker = Callable[[Guides], Descent]
"""Makes an attacker, given clean paths that it may imitate."""

_GUIDES_PER_CLASS = 100
"""Of the images that are looked at, so that a large fit split costs no more than a small one."""


class _Common(TypedDict):
    epsilon: float
    steps: int
    restarts: int


def attackers(plan: AdaptivePlan) -> dict[str, Attacker]:
    """What makes each attacker, by its name in the report.

    Args:
        plan: How long they search.
    """
    common = _Common(epsilon=plan.epsilons[0], steps=plan.steps, restarts=plan.restarts)
    return {
        "selective-pgd": lambda _: SelectivePgd(**common),
        "orthogonal-pgd": lambda _: OrthogonalPgd(**common),
        "joint-pgd": lambda _: JointPgd(**common),
        # Corners of its default grid, all of which would be some fifty times the work.
        "guide-matching": lambda guides: GuideMatching(
            **common, guides=guides, nearest=1, targets=2, weights=(0.1, 10.0)
        ),
    }


def drawn_guides(
    target: Target, images: FitImages, preprocessing: Preprocessing, *, seed: int
) -> Guides:
    """Guides from clean images of the fit split, drawn by chance, up to a number of each class.

    Args:
        target: The detector, which has to classify them rightly and not flag them.
        images: The fit split.
        preprocessing: How images become the network's input.
        seed: Seed of the draw.
    """
    rows = _rows_of_each_class(images.labels, seed)
    shown = images.read(rows.tolist(), preprocessing)
    return Guides.of(target, shown, torch.from_numpy(images.labels[rows]))


def _rows_of_each_class(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    order = np.random.default_rng(seed).permutation(len(labels))
    chosen = [
        order[labels[order] == label][:_GUIDES_PER_CLASS] for label in np.unique(labels).tolist()
    ]
    return np.concatenate(chosen)
