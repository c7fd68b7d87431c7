"""Which images a report is measured on, and that its figures are those of these images."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from detector.conformal import Guarantee
from detector.errors import DataError, InvalidInputError
from detector.jobs.calibration_report import (
    CalibrationReport,
    ReportOptions,
    make_report,
    write_report,
)
from detector.jobs.calibration_report.bench import Bench, bench_of
from detector.jobs.calibration_report.origin import Origin
from detector.jobs.calibration_report.rows import TableRows
from detector.jobs.fusions import OneClassFit
from detector.path_table import CLEAN, PathTable, SplitName
from detector.scoring import FusionName, Statistics
from detector.scoring.classifiers import ClassifierName

TEST = {
    (SplitName.TEST, CLEAN): 150,
    (SplitName.TEST, "pgd:8/255"): 60,
    (SplitName.TEST, "noise-sign:8/255"): 60,
}
NO_TRAIN = ((SplitName.TRAIN, CLEAN),)
PLAIN = {"guarantee": Guarantee.PLAIN}


def bench(found) -> tuple[Bench, TableRows]:
    level = found.bundle.pipeline.levels[found.bundle.pipeline.default_level]
    statistics = Statistics(level.suspicion.statistics.path_scores, level.copies)
    rows = TableRows.read(PathTable(found.options.table), statistics)
    return bench_of(level, rows, found.bundle, folds=3, seed=0), rows


def test_without_test_images_the_fit_split_is_judged_fold_by_fold(made) -> None:
    found = made(PLAIN)
    report = found.report
    assert (report.sources.clean, report.sources.attacked) == (Origin.CROSS_FITTED,) * 2
    assert (report.sources.clean_images, report.sources.calibration_images) == (120, 200)
    (level,) = report.levels
    assert [attack.attack for attack in level.score.attacks] == ["fgsm:8/255", "pgd:8/255"]
    for attack in level.score.attacks:
        assert (attack.success.hits, attack.success.total) == (108, 120)
    assert [change.name for change in level.harmless] == ["noise-sign:8/255"]
    assert [alarms.budget for alarms in level.score.false_alarms] == [0.05]  # 67 images a class
    assert level.score.false_alarms[0].pooled.total == 120


def test_no_sibling_has_seen_the_fold_that_it_judges(made) -> None:
    judges, rows = bench(made(PLAIN))
    fit_rows = rows.fit.fit_rows()
    folds = rows.fit.folds(3, 0)
    fold = torch.tensor([folds[image] for image in fit_rows.image_ids.tolist()])
    assert torch.bincount(fold[fit_rows.parts == 0]).tolist() == [40, 40, 40]
    for place, sibling in enumerate(judges.siblings.judges):
        fusion = OneClassFit().fit(fit_rows[fold != place], rows.statistics, seed=0)
        with torch.inference_mode():
            expected = fusion(rows.fit.clean.statistics)
        found = torch.from_numpy(sibling.scores(rows.fit.clean)).float()
        assert torch.equal(found, expected.float())
        shipped = torch.from_numpy(judges.shipped.judges[0].scores(rows.fit.clean)).float()
        assert not torch.equal(expected.float(), shipped)


def test_test_images_are_judged_by_what_ships(made) -> None:
    found = made(PLAIN, more=TEST)
    report = found.report
    assert (report.sources.clean, report.sources.attacked) == (Origin.TEST, Origin.TEST)
    assert (report.sources.clean_images, report.sources.negatives) == (150, 90)  # 60 were attacked
    level = found.bundle.pipeline.levels[found.bundle.pipeline.default_level]
    rows = PathTable(found.options.table).read(SplitName.TEST)
    with torch.inference_mode():
        scores = level.suspicion(rows.seen).scores
    flags = level.conformal.flags(scores, rows.predictions, 0.05)
    (alarms,) = report.levels[0].score.false_alarms
    assert (alarms.pooled.hits, alarms.pooled.total) == (int(flags.sum()), 150)
    by_class = [each.flagged.hits for each in alarms.classes]
    assert by_class == [int(flags[rows.predictions == label].sum()) for label in range(3)]
    (attack,) = report.levels[0].score.attacks
    assert (attack.attack, attack.success.hits, attack.images) == ("pgd:8/255", 54, 60)


def test_without_training_images_the_calibration_images_judge_each_other(made) -> None:
    found = made(PLAIN, leave_out=NO_TRAIN)
    report = found.report
    assert report.sources.clean is Origin.CROSS_CONFORMAL
    assert report.sources.attacked is Origin.CROSS_FITTED
    assert report.sources.clean_images == 200
    judges, rows = bench(found)
    flags = judges.false_alarms([0.05])[0.05]
    judged = judges.shipped.judge(rows.calibration)
    for part in range(3):
        mine = judges.parts == part
        by_others = judged.rows(mine).with_calibration(np.flatnonzero(~mine))
        np.testing.assert_array_equal(flags[mine], by_others.flags([0.05])[0.05])
    assert report.levels[0].score.false_alarms[0].pooled.hits == int(flags.sum())
    assert any("know the originals" in note for note in report.sources.notes)


def test_sizes_are_measured_on_images_that_the_small_calibration_did_not_use(made) -> None:
    report = made(PLAIN, leave_out=NO_TRAIN).report
    by_size = {point.images: point for point in report.sizes}
    assert set(by_size) == {100, 200}
    assert by_size[100].false_alarms is not None
    assert by_size[200].false_alarms is None  # no image is left
    assert by_size[200].found is not None


def test_more_calibration_images_find_more_under_the_pac_guarantee(made) -> None:
    sizes = made({"alpha": 0.2}, calibration=torch.arange(480) % 3).report.sizes
    assert [point.images for point in sizes] == [100, 200, 480]
    first, *_, last = (point.found for point in sizes)
    assert first is not None
    assert last is not None
    assert first.value < last.value


def test_a_calibration_too_small_for_the_budget_has_no_figures(made) -> None:
    sizes = made(calibration=torch.arange(480) % 3).report.sizes
    assert sizes[0].found is None  # 100 images are 33 of a class, and 59 are needed
    assert sizes[-1].found is not None


def test_learnt_fusions_are_fitted_again_with_their_own_trees(made) -> None:
    changes = PLAIN | {"fusion": FusionName.LEARNT, "classifier": ClassifierName.ADABOOST}
    report = made(changes).report
    (level,) = report.card.levels
    assert level.fusion == "learnt"
    worst = report.levels[0].score.worst
    assert worst is not None
    assert worst.auroc.value > 0.8  # strange paths, and attacks that were seen


def test_few_shot_learns_from_few_images_of_the_attack_that_succeeds_most(calibrated) -> None:
    options = replace(calibrated(PLAIN), few_shot=(1, 10, 500))
    points = make_report(options).few_shot
    assert {point.attack for point in points} == {"fgsm:8/255"}
    assert {point.images_per_class for point in points} == {1, 10}
    best = max(point.auroc.value for point in points)
    assert 0.5 < best <= 1


def test_a_table_without_attacks_gives_a_report_without_them(calibrated, tmp_path) -> None:
    attacks = tuple((SplitName.FIT, attack) for attack in ("fgsm:8/255", "pgd:8/255"))
    report = make_report(replace(calibrated(PLAIN, leave_out=attacks), few_shot=(1,)))
    assert report.levels[0].score.attacks == ()
    assert report.few_shot == ()
    assert write_report(report, tmp_path / "page").is_file()


def test_every_level_has_its_figures(made) -> None:
    report = made(PLAIN, copies=("flip", "shift:left")).report
    assert [level.level for level in report.levels] == ["standard", "fast", "thorough"]
    assert [level.passes for level in report.card.levels] == [2, 1, 3]


def test_the_same_bundle_and_table_give_the_same_report(calibrated) -> None:
    options = calibrated(PLAIN)
    assert make_report(options) == make_report(options)


def test_a_table_of_another_calibration_is_refused(calibrated, make_table, tmp_path) -> None:
    options = calibrated(PLAIN)
    other = make_table(tmp_path / "other", calibration=torch.arange(210) % 3)
    with pytest.raises(DataError, match="should be the one that the bundle was calibrated with"):
        make_report(replace(options, table=other))


def test_a_report_within_the_bundle_is_refused(tmp_path) -> None:
    with pytest.raises(InvalidInputError, match="should lie outside of the bundle"):
        ReportOptions(
            table=tmp_path, output=tmp_path / "bundle" / "report", bundle=tmp_path / "bundle"
        )


def test_the_json_says_what_the_report_says(made, tmp_path) -> None:
    report = made(PLAIN, more=TEST).report
    report.write(tmp_path / "report.json")
    assert CalibrationReport.read(tmp_path / "report.json") == report
    fields = json.loads((tmp_path / "report.json").read_text())
    assert set(fields) == {
        "schema_version",
        "card",
        "class_names",
        "sources",
        "budgets",
        "levels",
        "gates",
        "paths",
        "few_shot",
        "sizes",
        "roc_grid",
    }
    assert fields["budgets"] == [0.05, 0.01, 0.001]
    assert fields["sources"]["clean"] == "test"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "should be a calibration report"),
        ("{}", "should be a calibration report"),
        ('{"schema_version": 99}', "should have schema version 1. Found 99"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path, text, said) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        CalibrationReport.read(path)
