"""What the report on seen and unseen attacks measures, and on whom."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from detector.jobs.cross_validation import cross_validate
from detector.jobs.fit_rows import FitRows, Kind, read_fit_rows
from detector.jobs.fit_scores import fit_path_scores
from detector.jobs.fusions import LearntFit, OneClassFit
from detector.path_table import CLEAN, PathTable
from detector.paths import PathLayout
from detector.scoring import PathScores, Statistics
from detector.scoring.classifiers import GradientBoosting

LAYOUT = PathLayout(names=("one",), sizes=(2,))
STATISTICS = Statistics(PathScores(LAYOUT, 2))
COLUMNS = len(STATISTICS.names)
LABELS = (CLEAN, "noise-sign:8/255", "fgsm:8/255", "pgd:8/255")


def some_fit_rows(*, statistics: Tensor, parts: Tensor) -> FitRows:
    return FitRows(
        statistics=statistics,
        image_ids=torch.arange(len(parts)) % 40,
        parts=parts,
        labels=LABELS,
        kinds=(Kind.CLEAN, Kind.NOISE, Kind.ATTACK, Kind.ATTACK),
    )


@pytest.mark.parametrize(
    "fit", [OneClassFit(), LearntFit(GradientBoosting(trees=10))], ids=["one-class", "learnt"]
)
def test_the_report_measures_each_attack_also_unseen(make_table, tmp_path, fit):
    table = PathTable(make_table(tmp_path))
    statistics = Statistics(fit_path_scores(table))
    rows = read_fit_rows(table, statistics)
    reports = cross_validate(rows, fit, statistics, folds=2, seed=0)
    assert [report.attack for report in reports] == list(LABELS[1:])
    noise, *attacks = reports
    assert (noise.images, noise.auroc_unseen) == (120, None)
    assert noise.auroc is not None
    for report in attacks:
        assert report.images == 108
        assert report.auroc > 0.9
        assert report.auroc_unseen > 0.8
        # Every attack is one that it never saw.
        assert fit.learns_attacks or report.auroc_unseen == report.auroc


@pytest.mark.parametrize(
    "fit", [OneClassFit(), LearntFit(GradientBoosting(trees=10))], ids=["one-class", "learnt"]
)
def test_labels_that_mean_nothing_give_an_auroc_of_one_half(fit):
    parts = torch.arange(4).repeat_interleave(400)
    noise = torch.randn(1600, COLUMNS, generator=torch.Generator().manual_seed(0))
    rows = some_fit_rows(statistics=noise, parts=parts)
    for report in cross_validate(rows, fit, STATISTICS, folds=2, seed=0):
        # Two folds of 200 against 200: standard error sqrt(401 / (12 * 200 * 200 * 2)), times 5.
        assert report.auroc == pytest.approx(0.5, abs=5 * 0.0205)


def test_an_image_that_was_fitted_on_is_never_measured():
    """Statistics name the image: who has seen its attacked rows would know its clean one."""
    parts = torch.tensor([0, 2]).repeat_interleave(40)
    identity = torch.arange(40).repeat(2).float().unsqueeze(1).expand(-1, COLUMNS)
    rows = some_fit_rows(statistics=identity, parts=parts)
    fit = LearntFit(GradientBoosting(trees=5))
    fgsm = cross_validate(rows, fit, STATISTICS, folds=4, seed=0)[1]
    assert fgsm.auroc == 0.5
    assert fgsm.auroc_unseen is None


def test_an_attack_that_never_succeeded_has_no_figure():
    parts = torch.tensor([0, 2]).repeat_interleave(40)
    noise = torch.randn(80, COLUMNS, generator=torch.Generator().manual_seed(0))
    for fit in (OneClassFit(), LearntFit(GradientBoosting(trees=5))):
        pgd = cross_validate(
            some_fit_rows(statistics=noise, parts=parts), fit, STATISTICS, folds=2, seed=0
        )[2]
        assert (pgd.attack, pgd.images, pgd.auroc) == ("pgd:8/255", 0, None)
