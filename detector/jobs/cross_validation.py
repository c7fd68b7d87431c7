"""How well a classifier tells attacks that it saw and attacks that it never saw from clean images.

The folds are made of images, not of rows: a clean image and its attacked copies never straddle
what is fitted and what is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from detector.attacks import AttackSpec
from detector.jobs.fit_rows import FitRows, Kind
from detector.path_table import CLEAN
from detector.scoring.classifiers import TreeClassifier

__all__ = ["AttackReport", "cross_validate"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackReport:
    """One attack, or noise, against clean images within the fit split.

    Args:
        attack: Its label, as ``pgd:8/255``.
        images: How many images it succeeded on; all of them for noise.
        auroc: Mean area under the ROC curve over the folds, in [0, 1]; None with too few images.
        auroc_unseen: The same for a classifier that was fitted without any attack of this name;
            None for noise and where there is no other attack.
    """

    attack: str
    images: int
    auroc: float | None
    auroc_unseen: float | None


def cross_validate(
    rows: FitRows, classifier: TreeClassifier, *, folds: int, seed: int
) -> tuple[AttackReport, ...]:
    """Measure a classifier on images that it was not fitted on.

    Args:
        rows: Features of the fit images.
        classifier: What to fit in each fold.
        folds: Number of folds, at least 2.
        seed: Seed of the folds and of the classifier.

    Returns:
        A report for each attack and noise, in the order of the table.
    """
    fold = _folds(rows.image_ids, folds, seed)
    reports = []
    seen = _scores(rows, fold, folds, classifier, seed)
    for part, (label, kind) in enumerate(zip(rows.labels, rows.kinds, strict=True)):
        if kind is Kind.CLEAN:
            continue
        unseen = None
        others = torch.tensor([_name(other) != _name(label) for other in rows.labels])[rows.parts]
        if kind is Kind.ATTACK and bool((others & rows.attacked).any()):
            without = _scores(rows, fold, folds, classifier, seed, fitted=others)
            unseen = _auroc(rows, fold, folds, without, part)
        reports.append(
            AttackReport(
                attack=label,
                images=int(rows.of(part).sum()),
                auroc=_auroc(rows, fold, folds, seen, part),
                auroc_unseen=unseen,
            )
        )
    return tuple(reports)


def _name(label: str) -> str:
    return CLEAN if label == CLEAN else str(AttackSpec.parse(label).name)


def _folds(image_ids: Tensor, folds: int, seed: int) -> Tensor:
    """Fold of each row: all rows of one image share one."""
    images, place = torch.unique(image_ids, return_inverse=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return (order % folds)[place]


def _scores(
    rows: FitRows,
    fold: Tensor,
    folds: int,
    classifier: TreeClassifier,
    seed: int,
    *,
    fitted: Tensor | None = None,
) -> Tensor:
    """Score of each row by a classifier that did not see its image, shape (N,); NaN without one."""
    scores = torch.full((len(fold),), torch.nan, dtype=torch.float64)
    for held_out in range(folds):
        chosen = fold != held_out
        part = rows[chosen if fitted is None else chosen & fitted]
        if 0 < int(part.attacked.sum()) < len(part.parts):
            trees = classifier.fit(part.features, part.attacked, weights=part.weights, seed=seed)
            scores[~chosen] = trees(rows.features[~chosen])
    return scores


def _auroc(rows: FitRows, fold: Tensor, folds: int, scores: Tensor, part: int) -> float | None:
    """Mean over the folds, since scores of two classifiers do not compare."""
    clean = rows.of(rows.labels.index(CLEAN))
    areas = []
    for held_out in range(folds):
        chosen = (fold == held_out) & (clean | rows.of(part)) & scores.isfinite()
        truth = rows.of(part)[chosen]
        if 0 < int(truth.sum()) < len(truth):
            areas.append(float(roc_auc_score(truth.numpy(), scores[chosen].numpy())))
    return sum(areas) / len(areas) if areas else None
