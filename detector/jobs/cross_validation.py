"""How well a fusion tells attacks that it saw and attacks that it never saw from clean images.

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
from detector.jobs.fusions import FusionFit
from detector.path_table import CLEAN
from detector.scoring import Statistics

__all__ = ["AttackReport", "cross_validate"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackReport:
    """One attack, or noise, against clean images within the fit split.

    Args:
        attack: Its label, as ``pgd:8/255``.
        images: How many images it succeeded on; all of them for noise.
        auroc: Mean area under the ROC curve over the folds, in [0, 1]; None with too few images.
        auroc_unseen: The same for a fusion that was fitted without any attack of this name; None
            for noise and where there is no other attack to learn from.
    """

    attack: str
    images: int
    auroc: float | None
    auroc_unseen: float | None


def cross_validate(
    rows: FitRows, fit: FusionFit, statistics: Statistics, *, folds: int, seed: int
) -> tuple[AttackReport, ...]:
    """Measure a fusion on images that it was not fitted on.

    Args:
        rows: Statistics of the fit images.
        fit: What to fit in each fold.
        statistics: What the columns of the rows are.
        folds: Number of folds, at least 2.
        seed: Seed of the folds and of the fit.

    Returns:
        A report for each attack and noise, in the order of the table.
    """
    fold = _folds(rows.image_ids, folds, seed)
    refit = _Refit(fit=fit, statistics=statistics, fold=fold, folds=folds, seed=seed)
    reports = []
    seen = refit.scores(rows)
    for part, (label, kind) in enumerate(zip(rows.labels, rows.kinds, strict=True)):
        if kind is Kind.CLEAN:
            continue
        found = _auroc(rows, fold, folds, seen, part)
        unseen = None
        if kind is Kind.ATTACK:
            unseen = found if not fit.learns_attacks else _unseen(rows, refit, part)
        reports.append(
            AttackReport(
                attack=label, images=int(rows.of(part).sum()), auroc=found, auroc_unseen=unseen
            )
        )
    return tuple(reports)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Refit:
    """Fits a fusion without each fold in turn."""

    fit: FusionFit
    statistics: Statistics
    fold: Tensor
    folds: int
    seed: int

    def scores(self, rows: FitRows, fitted: Tensor | None = None) -> Tensor:
        """Score of each row by a fusion that did not see its image, (N,); NaN without one."""
        scores = torch.full((len(self.fold),), torch.nan)
        for held_out in range(self.folds):
            chosen = self.fold != held_out
            part = rows[chosen if fitted is None else chosen & fitted]
            if part.teaches(attacks=self.fit.learns_attacks):
                fusion = self.fit.fit(part, self.statistics, seed=self.seed)
                scores[~chosen] = fusion(rows.statistics[~chosen])
        return scores


def _unseen(rows: FitRows, refit: _Refit, part: int) -> float | None:
    """The area for an attack without any of its name in fitting."""
    name = _name(rows.labels[part])
    others = torch.tensor([_name(other) != name for other in rows.labels])[rows.parts]
    if not bool((others & rows.attacked).any()):
        return None
    return _auroc(rows, refit.fold, refit.folds, refit.scores(rows, others), part)


def _name(label: str) -> str:
    return CLEAN if label == CLEAN else str(AttackSpec.parse(label).name)


def _folds(image_ids: Tensor, folds: int, seed: int) -> Tensor:
    """Fold of each row: all rows of one image share one."""
    images, place = torch.unique(image_ids, return_inverse=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return (order % folds)[place]


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
