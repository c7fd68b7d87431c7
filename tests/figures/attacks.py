"""How well the bundled default tells attacked images from clean ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from detector.attacks import AttackSpec, attack_images
from tests.figures.bench import Bench
from tests.figures.figure import Figure, auroc_with_interval, share_text

__all__ = ["attacks"]

_BATCH = 125
_SUCCESS_TARGET = 0.99


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """One attack.

    Args:
        spec: The attack.
        images: Test images that are attacked.
        auroc: Least area under the ROC curve, or None where it is only reported.
    """

    spec: str
    images: int
    auroc: float | None


_CASES = (
    _Case(spec="fgsm:8/255", images=1000, auroc=0.95),
    _Case(spec="pgd:8/255", images=1000, auroc=0.97),
    _Case(spec="apgd-ce:8/255", images=1000, auroc=0.97),
    _Case(spec="pgd:2/255", images=1000, auroc=None),
    _Case(spec="cw-l2", images=250, auroc=None),
)


def attacks(bench: Bench) -> list[Figure]:
    """Success after rounding, AUROC and share flagged, attack by attack.

    Positives: images that were classified right before and wrong after. Negatives: all clean test
    images that were not attacked.
    """
    return [figure for case in _CASES for figure in _case(bench, case)]


def _case(bench: Bench, case: _Case) -> list[Figure]:
    spec = AttackSpec.parse(case.spec)
    test, network = bench.splits.test, bench.pipeline.network
    pixels = bench.pixels(test, case.images)
    labels = torch.from_numpy(test.labels[: case.images])
    images, success, right = [], 0, 0
    for batch, truth in zip(pixels.split(_BATCH), labels.split(_BATCH), strict=True):
        result = attack_images(network, bench.pipeline.preprocessing, batch, truth, spec.build())
        images.append(result.images[result.success])
        success += int(result.success.sum())
        right += int((result.original_prediction == truth).sum())
    attacked = bench.observe(torch.cat(images))
    area, low, high = auroc_with_interval(bench.clean.scores[case.images :], attacked.scores)
    flagged = np.asarray(
        bench.pipeline.conformal.flags(
            torch.from_numpy(attacked.scores), torch.from_numpy(attacked.predicted), 0.05
        )
    )
    strong = spec.epsilon == 8 / 255
    return [
        Figure(
            name=f"{case.spec} success after rounding",
            target=f">= {_SUCCESS_TARGET:.0%}" if strong else "",
            measured=share_text(success, right),
            holds=success / right >= _SUCCESS_TARGET if strong else None,
        ),
        Figure(
            name=f"{case.spec} AUROC",
            target="" if case.auroc is None else f">= {case.auroc}",
            measured=f"{area:.4f} [{low:.4f}, {high:.4f}], {success} attacked",
            holds=None if case.auroc is None else area >= case.auroc,
        ),
        Figure(
            name=f"{case.spec} flagged at budget 5%",
            target="",
            measured=share_text(int(flagged.sum()), len(flagged)),
            holds=None,
        ),
    ]
