"""Scores of paths, fitted on the clean rows of a table."""

from __future__ import annotations

import pytest
import torch

from detector.errors import CalibrationError
from detector.jobs import fit_scores
from detector.jobs.fit_scores import clean_split, fit_path_scores
from detector.path_table import CLEAN, PathTable, SplitName
from detector.scoring import CleanImages, PathScores, PathStatistics

TRAIN = (SplitName.TRAIN, CLEAN)


@pytest.mark.parametrize("split", [SplitName.TRAIN, SplitName.FIT])
def test_scores_are_those_of_the_clean_rows_of_the_train_split_or_else_fit(
    make_table, tmp_path, split
):
    table = PathTable(make_table(tmp_path, leave_out=() if split is SplitName.TRAIN else (TRAIN,)))
    assert clean_split(table) is split
    rows = table.read(split)
    clean = CleanImages(
        statistics=PathStatistics.of(rows.path, rows.labels, 3),
        sample=rows.seen,
        labels=rows.labels,
        image_ids=rows.image_ids,
    )
    expected = PathScores(table.info.layout, 3).fit(clean)
    found = fit_path_scores(table)
    assert not found.training
    probe = table.read(SplitName.CALIBRATION).seen
    torch.testing.assert_close(found(probe), expected(probe), rtol=1e-4, atol=1e-4)


def test_images_that_the_network_gets_wrong_belong_to_no_class(make_table, tmp_path, monkeypatch):
    """Rows of an attack in the place of clean ones: the network gets all of them wrong."""
    table = PathTable(make_table(tmp_path))
    wrong = table.read(SplitName.FIT, "pgd:8/255")
    assert not bool((wrong.predictions == wrong.labels).any())
    right = table.read(SplitName.TRAIN)
    probe = table.read(SplitName.CALIBRATION).seen
    expected = fit_path_scores(table)(probe)
    monkeypatch.setattr(PathTable, "batches", lambda table, split, shards=None: [right, wrong])
    assert torch.equal(fit_path_scores(table)(probe), expected)
    monkeypatch.setattr(PathTable, "batches", lambda table, split, shards=None: [wrong])
    with pytest.raises(CalibrationError, match=r"train image that .* none of cat, dog, frog"):
        fit_path_scores(table)


def test_a_table_without_clean_rows_is_refused(make_table, tmp_path, monkeypatch):
    table = PathTable(make_table(tmp_path))
    monkeypatch.setattr(PathTable, "shard_count", lambda table, split: 0)
    with pytest.raises(CalibrationError, match=r"none of cat, dog, frog\. Extract more"):
        fit_path_scores(table)


def test_the_sample_is_the_first_images_of_each_class(make_table, tmp_path, monkeypatch):
    """Its number is bounded for all classes together, however it comes in batches."""
    samples = []
    fit = PathScores.fit

    def spy(scores: PathScores, clean: CleanImages) -> PathScores:
        samples.append(clean)
        return fit(scores, clean)

    monkeypatch.setattr(PathScores, "fit", spy)
    table = PathTable(make_table(tmp_path))
    monkeypatch.setattr(fit_scores, "_SAMPLE", 30)
    batches = PathTable.batches
    for size in (300, 7):
        monkeypatch.setattr(
            PathTable,
            "batches",
            lambda *args, size=size, **more: batches(*args, batch_size=size, **more),
        )
        fit_path_scores(table)
    rows = table.read(SplitName.TRAIN)
    expected = rows.seen[:30]  # classes take turns
    for clean in samples:
        assert torch.bincount(clean.labels).tolist() == [10, 10, 10]
        assert torch.equal(clean.sample.path.logits, expected.path.logits)
        assert torch.equal(clean.image_ids, rows.image_ids[:30])
        assert float(clean.statistics.counts.sum()) == 300
