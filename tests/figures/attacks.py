"""How well the bundled default tells attacked images from clean ones, at each level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from detector.attacks import AttackSpec, attack_images
from detector.jobs.evaluation.roc import threshold_at
from detector.pipeline import LevelName
from tests.figures.bench import Bench, Observed
from tests.figures.figure import Figure, auroc_with_interval, reported, share_text

__all__ = ["attacks"]

_BATCH = 125
_SUCCESS_TARGET = 0.99


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """One attack.

    Args:
        spec: The attack.
        images: Test images that are attacked.
        auroc: Least area under the ROC curve at the default level; None where only the mean and
            the worst attack have a target.
    """

    spec: str
    images: int
    auroc: float | None = None


# Few images for the attacks that take hundreds of steps.
_CASES = (
    _Case(spec="fgsm:8/255", images=500, auroc=0.95),
    _Case(spec="bim:4/255", images=500),
    _Case(spec="pgd:2/255", images=500),
    _Case(spec="pgd:8/255", images=500, auroc=0.97),
    _Case(spec="apgd-ce:8/255", images=500, auroc=0.97),
    _Case(spec="cw-l2", images=250),
    _Case(spec="cw-l2:steps=150,confidence=20", images=125),
    _Case(spec="square:8/255", images=125),
    _Case(spec="ddn", images=250),
)

# Least worst and mean area, for attacks none of which was seen in fitting.
_LEVEL_TARGETS = {LevelName.STANDARD: (0.93, 0.97), LevelName.THOROUGH: (0.95, 0.985)}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Outcome:
    """Successes of one attack.

    Args:
        case: The attack.
        success: How many there are.
        right: Of how many images that were classified right before.
        found: Findings on them at each level.
    """

    case: _Case
    success: int
    right: int
    found: dict[LevelName, Observed]


def attacks(bench: Bench) -> list[Figure]:
    """Success after rounding, AUROC and share flagged, attack by attack and level by level.

    Positives: images that were classified right before and wrong after. Negatives: all clean test
    images that were not attacked. The fusion that ships was fitted without any attack, so that each
    of these is unknown to it.
    """
    outcomes = [_attack(bench, case) for case in _CASES]
    figures = [_success(each) for each in outcomes]
    figures += [_flagged(bench, each) for each in outcomes]
    for level in bench.pipeline.levels:
        figures += _level(bench, level, outcomes)
    return figures


def _attack(bench: Bench, case: _Case) -> _Outcome:
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
    return _Outcome(case=case, success=success, right=right, found=bench.observe(torch.cat(images)))


def _success(outcome: _Outcome) -> Figure:
    strong = AttackSpec.parse(outcome.case.spec).epsilon == 8 / 255
    strong = strong and outcome.case.auroc is not None
    return Figure(
        name=f"{outcome.case.spec} success after rounding",
        target=f">= {_SUCCESS_TARGET:.0%}" if strong else "",
        measured=share_text(outcome.success, outcome.right),
        holds=outcome.success / outcome.right >= _SUCCESS_TARGET if strong else None,
    )


def _flagged(bench: Bench, outcome: _Outcome) -> Figure:
    level = bench.pipeline.default_level
    found = outcome.found[level]
    flagged = bench.pipeline.levels[level].conformal.flags(
        torch.from_numpy(found.scores), torch.from_numpy(found.predicted), 0.05
    )
    return reported(
        f"{outcome.case.spec} flagged at budget 5%, {level}",
        share_text(int(flagged.sum()), len(flagged)),
    )


def _level(bench: Bench, level: LevelName, outcomes: list[_Outcome]) -> list[Figure]:
    most = max(outcome.case.images for outcome in outcomes)
    clean = bench.clean_at[level].scores[most:]
    threshold = threshold_at(bench.pipeline.levels[level].conformal.scores.numpy(), 0.01)
    figures, areas, found = [], {}, []
    for outcome in outcomes:
        scores = outcome.found[level].scores
        area = auroc_with_interval(clean, scores)
        areas[outcome.case.spec] = area.value
        found.append(float(np.mean(scores > threshold)))
        least = outcome.case.auroc if level is bench.pipeline.default_level else None
        figures.append(
            Figure(
                name=f"{outcome.case.spec} AUROC, {level}",
                target="" if least is None else f">= {least}",
                measured=f"{area.value:.4f} [{area.low:.4f}, {area.high:.4f}], "
                f"{outcome.success} attacked",
                holds=None if least is None else area.value >= least,
            )
        )
    worst = min(areas, key=lambda spec: areas[spec])
    mean = float(np.mean(list(areas.values())))
    targets = _LEVEL_TARGETS.get(level)
    figures += [
        Figure(
            name=f"AUROC of unknown attacks at {level}, worst",
            target="" if targets is None else f">= {targets[0]}",
            measured=f"{areas[worst]:.4f} ({worst})",
            holds=None if targets is None else areas[worst] >= targets[0],
        ),
        Figure(
            name=f"AUROC of unknown attacks at {level}, mean",
            target="" if targets is None else f">= {targets[1]}",
            measured=f"{mean:.4f}",
            holds=None if targets is None else mean >= targets[1],
        ),
        reported(
            f"found at 1 % false alarms at {level}, mean over unknown attacks",
            f"{np.mean(found):.1%}",
        ),
    ]
    return figures
