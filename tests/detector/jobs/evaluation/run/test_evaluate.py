"""A small bundle under a small plan, from images to the report."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from detector.attacks import Attack, AttackName
from detector.attacks.adaptive import AdaptiveAttack
from detector.bundle import load_bundle
from detector.data import Splits
from detector.errors import DataError, GateError, InvalidInputError
from detector.jobs.evaluation import EvaluationReport, evaluate
from detector.jobs.evaluation.controls import ControlName
from detector.jobs.evaluation.estimates import Estimate
from detector.jobs.evaluation.roc import auroc
from detector.path_table import PathTable, SplitName
from detector.pipeline import Verdict
from detector.weights import load_network


def test_an_evaluation_writes_its_report_with_tables_and_plots(small):
    options, report = small
    plan = options.plan
    assert EvaluationReport.read(options.output / "report.json") == report
    text = (options.output / "report.md").read_text("utf-8")
    assert report.plan_digest == plan.digest
    assert plan.digest[:12] in text
    assert "What decoupling adds" in text
    plots = {path.stem for path in (options.output / "plots").iterdir()}
    assert {"auroc", "roc-standard-learnt", "shift-standard-one-class"} <= plots
    assert "few-shot-pgd-8-255" in plots


def test_every_section_of_the_report_is_filled(small):
    options, report = small
    plan = options.plan
    assert [level.level for level in report.levels] == ["fast", "standard"]
    assert [level.cost.passes for level in report.levels] == [1, 2]
    for score in (*(each for level in report.levels for each in level.fusions), *report.baselines):
        assert [each.attack for each in score.attacks] == list(plan.attacks)
        assert all(each.detection and each.images == 40 for each in score.attacks)
        assert score.worst is not None
    assert [score.name for score in report.baselines] == list(plan.baselines)
    assert {(cell.family, cell.level) for cell in report.left_out} == {
        (family, f"{level}, learnt")
        for family in ("gradient", "query")
        for level in ("fast", "standard")
    }
    assert {cell.attack for cell in report.left_out if cell.unknown} == {*plan.attacks}
    assert len(report.few_shot) == 3 * 2
    assert [size.images for size in report.calibration_sizes] == [60, 200]
    assert [(shift.name, shift.severity) for shift in report.shifts] == [
        *((label, None) for label in plan.noise),
        ("fog", 1),
        ("fog", 3),
    ]
    attackers = ("selective-pgd", "orthogonal-pgd", "joint-pgd", "guide-matching")
    assert [(point.attack, point.epsilon) for point in report.adaptive.points] == [
        (name, epsilon) for name in attackers for epsilon in plan.adaptive.epsilons
    ]
    assert {half.attack for half in report.adaptive.half} == {*attackers}
    assert [check.name.split(" at ")[0] for check in report.adaptive.health] == [
        name for name in attackers for _ in range(4)
    ]
    assert [each.network for each in report.transfer] == [
        "plain (cifar-resnet20, plain)",
        "other (cifar-resnet20, decoupled, seed 1)",
    ]
    for each in report.transfer:
        assert [score.name for score in each.scores] == [
            f"{level}, {fusion}" for level in plan.levels for fusion in plan.fusions
        ]
    names = [score.name for score in report.plain_network.scores]
    assert names == ["fast, one-class", "standard, one-class", *plan.baselines]


def test_every_control_is_run_on_every_fused_score_of_both_networks(small):
    options, report = small
    plan = options.plan
    own = {f"{level}, {fusion}" for level in plan.levels for fusion in plan.fusions}
    plain = {f"plain network, {level}, one-class" for level in plan.levels}
    for control in (ControlName.NULL, ControlName.IDENTITY, ControlName.SHUFFLE):
        assert {each.subject for each in report.controls if each.name is control} == own | plain
    assert len(report.controls) == len(ControlName) * len(own | plain)


def test_figures_are_those_of_the_bundle_that_was_loaded(setting, small):
    options, report = small
    pipeline = load_bundle(options.bundle).pipeline
    rows = PathTable(options.output / "paths")
    copies = pipeline.level("standard").copies

    def judged(attack: str):
        (found,) = rows.with_copies(SplitName.TEST, attack, copies=copies)
        return found.original, pipeline.judge(found.seen, "standard")

    clean, of_clean = judged("clean")
    attacked, of_attacked = judged("pgd:8/255")
    negatives = of_clean.scores[~torch.isin(clean.image_ids, attacked.image_ids)]
    fusion = report.levels[1].fusions[0]
    figures = fusion.attacks[1]
    assert figures.success.hits == int(attacked.success.sum()) > 20
    expected = auroc(negatives.numpy(), of_attacked.scores[attacked.success].numpy())
    # The scores of the report were fitted again on the table: the last bit may differ.
    assert figures.detection.auroc.value == pytest.approx(expected, abs=1e-3)
    verdicts = [pipeline.detect(of_clean, row).verdict for row in range(len(clean))]
    assert fusion.false_alarms[0].pooled.hits == verdicts.count(Verdict.OFF_PATH)
    assert report.accuracy.hits == int((clean.predictions == clean.labels).sum()) > 170


def test_attacks_through_another_network_are_judged_by_the_bundle_that_was_loaded(setting, small):
    options, report = small
    pipeline = load_bundle(options.bundle).pipeline
    rows = PathTable(options.output / "paths")
    transfer = report.transfer[0]
    label = f"pgd:8/255@{transfer.digest[:12]}"
    (made,) = rows.with_copies(SplitName.TEST, label, copies=pipeline.level("standard").copies)
    figures = transfer.scores[2].attacks[0]
    assert rows.part(SplitName.TEST, label).surrogate == transfer.digest
    assert (figures.attack, figures.images) == (label, 40)
    right = made.original.original_predictions == made.original.labels
    assert figures.success.total == int(right.sum())
    assert figures.success.hits == int(made.original.success.sum()) > 0
    judged = pipeline.judge(made.seen, "standard")
    flagged = [
        pipeline.detect(judged, row).verdict is Verdict.OFF_PATH
        for row in np.flatnonzero(made.original.success)
    ]
    assert figures.detection.flagged[0].share.hits == sum(flagged)


def test_a_transfer_that_never_succeeds_is_reported_as_such(small):
    options, report = small
    for transfer in report.transfer:
        for score in transfer.scores:
            never = score.attacks[1]
            assert never.attack == f"pgd:0@{transfer.digest[:12]}"
            assert (never.success.hits, never.detection) == (0, None)
    assert "never succeeds" in (options.output / "report.md").read_text("utf-8")


def test_transfer_is_left_out_where_no_network_is_given(setting, again):
    plan = replace(again.plan, transfer=("pgd:8/255",))
    report = evaluate(setting.splits, replace(again, plan=plan))
    assert report.transfer == ()
    assert "other networks" not in (again.output / "report.md").read_text("utf-8")


def test_networks_that_attacks_cannot_go_through_are_refused(setting, tmp_path):
    plan = replace(setting.options(tmp_path).plan, transfer=("pgd:8/255",))
    own, plain = setting.folder / "network.safetensors", setting.others[0]
    for files, message in (
        ((own,), "should be another one than the network under attack"),
        ((plain, plain), r"different from each other\. Found .*plain.safetensors and"),
        ((setting.folder / "none.safetensors",), "none.safetensors should be a network written"),
    ):
        with pytest.raises(DataError, match=message):
            evaluate(setting.splits, setting.options(tmp_path, plan, through=files))
    with pytest.raises(InvalidInputError, match=r"The plan quick should name attacks .*transfer"):
        setting.options(tmp_path, through=(plain,))
    assert not list(tmp_path.iterdir())


def test_the_same_command_again_attacks_nothing_and_finds_the_same(setting, small, monkeypatch):
    options, report = small
    for kind in (Attack, AdaptiveAttack):
        monkeypatch.setattr(kind, "__call__", lambda *_, **__: pytest.fail("attacked again"))
    again = evaluate(setting.splits, options)
    assert _timeless(again) == _timeless(report)


def _timeless(report: EvaluationReport) -> EvaluationReport:
    levels = tuple(
        replace(level, cost=replace(level.cost, milliseconds=0.0, overhead=0.0))
        for level in report.levels
    )
    return replace(report, levels=levels, provenance={**report.provenance, "created": ""})


def test_rows_are_made_where_the_engine_makes_them_and_are_the_same(
    setting, small, tmp_path, engine_elsewhere
):
    options, _ = small
    there = replace(options, output=tmp_path, plan=replace(options.plan, few_shot=(), seeds=(0,)))
    there = replace(there, adaptive=False, plan=replace(there.plan, calibration_sizes=()))
    evaluate(setting.splits, there, engine=engine_elsewhere)
    for folder in ("paths", "plain-paths"):
        here = {path.name: path.read_bytes() for path in (options.output / folder).iterdir()}
        assert {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} == here
        assert len(here) > 10


def test_rows_that_a_larger_plan_left_are_not_read(setting, again):
    report = evaluate(setting.splits, replace(again, plan=replace(again.plan, images=30)))
    (figures,) = report.levels[0].fusions[0].attacks
    assert figures.images == 30


def test_kept_figures_of_another_attacker_are_made_again(setting, small, again):
    options, _ = small
    shutil.copytree(options.output / "adaptive", again.output / "adaptive")
    attackers = replace(options.plan.adaptive, epsilons=(8 / 255,), steps=1)
    plan = replace(again.plan, adaptive=attackers)
    found = evaluate(setting.splits, replace(again, plan=plan, adaptive=True)).adaptive
    assert [point.epsilon for point in found.points] == [8 / 255] * 4
    kept = json.loads((again.output / "adaptive" / "standard-guide-matching.json").read_text())
    assert kept["facts"]["plan"]["steps"] == 1


def test_a_table_of_another_network_is_refused(setting, tmp_path):
    options = setting.options(tmp_path, table=setting.twin.table)
    with pytest.raises(DataError, match=r"with the bundle's network\. Found another network"):
        evaluate(setting.splits, options)
    assert not list(tmp_path.iterdir())


def test_images_of_other_classes_are_refused(setting, tmp_path):
    other = setting.tinted(30, seed=2, names=("cyan", "magenta", "yellow"))
    splits = Splits.divide(other, other, preprocessing=setting.splits.preprocessing)
    with pytest.raises(DataError, match=r"the classes red, green, blue\. Found cyan"):
        evaluate(splits, setting.options(tmp_path))


def test_a_table_that_the_bundle_was_not_calibrated_with_is_refused(setting, tmp_path):
    train = replace(setting.splits.train, ids=setting.splits.train.ids[::2])
    network, _ = load_network(setting.folder / "network.safetensors")
    table = tmp_path / "paths"
    setting.extract(network, replace(setting.splits, train=train), table)
    with pytest.raises(DataError, match="Found other calibration scores at standard"):
        evaluate(setting.splits, setting.options(tmp_path / "out", table=table))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": ("fast",)}, "should evaluate what the bundle ships, one-class at standard"),
        ({"fusions": ("learnt",)}, "should evaluate what the bundle ships, one-class at standard"),
        ({"levels": ("standard", "slow")}, "level should be one of .* Found 'slow'"),
        ({"fusions": ("one-class", "vote")}, "fusions should be among .* Found 'vote'"),
        ({"baselines": ("odds",)}, "baselines should be among .* Found odds"),
    ],
)
def test_a_plan_that_does_not_fit_the_bundle_is_refused(setting, tmp_path, changes, message):
    options = setting.options(tmp_path)
    options = replace(options, plan=replace(options.plan, **changes))
    with pytest.raises(InvalidInputError, match=message):
        evaluate(setting.splits, options)
    assert not list(tmp_path.iterdir())


def test_few_shot_classifiers_need_their_attack_in_the_table(setting, tmp_path):
    families = {"gradient": (AttackName.BIM,)}
    changes = {"attacks": ("bim:8/255",), "families": families, "few_shot": (1,)}
    options = setting.options(tmp_path)
    plan = replace(options.plan, **changes, few_shot_attack="bim:8/255")
    with pytest.raises(DataError, match="should hold fit images, bim:8/255"):
        evaluate(setting.splits, replace(options, plan=plan))
    assert not list(tmp_path.iterdir())


def test_a_plain_network_that_has_gates_is_refused(setting, tmp_path):
    twin = replace(setting.twin, network=setting.folder / "network.safetensors")
    with pytest.raises(DataError, match=r"a network before decoupling\. Found gates"):
        evaluate(setting.splits, setting.options(tmp_path, plain=twin))
    twin = replace(setting.twin, table=setting.folder / "paths")
    with pytest.raises(DataError, match=r"with .*plain.safetensors. Found another network"):
        evaluate(setting.splits, setting.options(tmp_path, plain=twin))


def test_a_report_that_fell_against_the_released_one_fails_the_run(setting, quick, again):
    options, report = quick
    unchanged = replace(again, released=options.output / "report.json")
    assert evaluate(setting.splits, unchanged).levels[0].fusions == report.levels[0].fusions

    (level,) = report.levels
    (fusion,) = level.fusions
    best = replace(fusion, mean_auroc=Estimate(value=0.999, low=0.998, high=1.0))
    better = replace(report, levels=(replace(level, fusions=(best,)),))
    better.write(again.output / "better.json")
    (again.output / "report.json").unlink()
    with pytest.raises(GateError, match=r"standard, one-class: mean AUROC: 0\.9990 became"):
        evaluate(setting.splits, replace(again, released=again.output / "better.json"))
    assert EvaluationReport.read(again.output / "report.json").plan_digest == report.plan_digest
