"""What fusions are fitted on, and how much each row counts."""

from __future__ import annotations

import pytest
import torch

from detector.errors import CalibrationError, DataError
from detector.jobs.fit_rows import FitRows, Kind, read_fit_rows
from detector.jobs.fit_scores import fit_path_scores
from detector.path_table import CLEAN, PathTable, SplitName
from detector.scoring import Statistics

COPIES = ("flip", "shift:left")
LABELS = (CLEAN, "noise-sign:8/255", "fgsm:8/255", "pgd:8/255")


def some_rows(parts: torch.Tensor) -> FitRows:
    return FitRows(
        statistics=torch.arange(2.0 * len(parts)).view(-1, 2),
        image_ids=torch.arange(len(parts)),
        parts=parts,
        labels=LABELS,
        kinds=(Kind.CLEAN, Kind.NOISE, Kind.ATTACK, Kind.ATTACK),
    )


def test_rows_are_the_statistics_of_images_and_copies(make_table, tmp_path):
    table = PathTable(make_table(tmp_path, copies=COPIES))
    statistics = Statistics(fit_path_scores(table), COPIES)
    rows = read_fit_rows(table, statistics)
    assert rows.labels == LABELS
    assert rows.statistics.shape == (456, len(statistics.names))
    assert rows.images_by_part == dict(zip(LABELS, (120, 120, 108, 108), strict=True))
    ((seen, success),) = [
        (part.seen, part.original.success)
        for part in table.with_copies(SplitName.FIT, "pgd:8/255", copies=COPIES)
    ]
    assert torch.equal(rows.statistics[rows.of(3)], statistics(seen)[success])
    assert rows.image_ids[rows.of(3)].tolist() == [n for n in range(120) if n % 10]


def test_attacks_without_the_copies_are_left_out_but_clean_images_are_needed(make_table, tmp_path):
    pgd, clean = (SplitName.FIT, "pgd:8/255"), (SplitName.FIT, CLEAN)
    table = PathTable(make_table(tmp_path / "attack", copies=COPIES, uncopied=(pgd,)))
    scores = fit_path_scores(table)
    assert "pgd:8/255" not in read_fit_rows(table, Statistics(scores, COPIES)).labels
    assert "pgd:8/255" in read_fit_rows(table, Statistics(scores)).labels
    bare = PathTable(make_table(tmp_path / "clean", copies=COPIES, uncopied=(clean,)))
    with pytest.raises(DataError, match=r"copies flip, shift:left of fit images.*--copy flip"):
        read_fit_rows(bare, Statistics(scores, COPIES))


def test_an_attack_without_gradients_is_fitted_as_an_attack_not_as_noise(make_table, tmp_path):
    square = (SplitName.FIT, "square:8/255")
    table = PathTable(make_table(tmp_path, more={square: 120}))
    rows = read_fit_rows(table, Statistics(fit_path_scores(table)))
    kinds = dict(zip(rows.labels, rows.kinds, strict=True))
    assert kinds["square:8/255"] is Kind.ATTACK
    assert kinds["noise-sign:8/255"] is Kind.NOISE
    assert kinds[CLEAN] is Kind.CLEAN


def test_weights_balance_clean_noise_and_each_attack():
    rows = some_rows(torch.tensor([0] * 10 + [1] * 30 + [2] * 5 + [3] * 50))
    sums = torch.stack([rows.weights[rows.of(part)].sum() for part in range(4)])
    torch.testing.assert_close(sums / sums.sum(), torch.full((4,), 0.25, dtype=torch.float64))
    assert float(rows.weights.mean()) == pytest.approx(1)


def test_rows_and_statistics_are_chosen_independently():
    rows = some_rows(torch.tensor([0, 1, 2, 3]))
    part = rows[rows.are(Kind.ATTACK)].columns(torch.tensor([1]))
    assert part.statistics.tolist() == [[5.0], [7.0]]
    assert part.image_ids.tolist() == [2, 3]
    assert bool(part.attacked.all())
    assert part.labels == LABELS


def test_attacks_teach_only_where_some_succeeded_beside_others():
    clean, mixed, attacked = (some_rows(torch.tensor(p)) for p in ([0, 0, 1], [0, 2], [2, 3]))
    assert [rows.teaches(attacks=True) for rows in (clean, mixed, attacked)] == [False, True, False]
    assert [rows.teaches(attacks=False) for rows in (clean, mixed, attacked)] == [True, True, False]
    mixed.require_attacks()
    with pytest.raises(CalibrationError, match="attacks on fit images that succeeded"):
        clean.require_attacks()
