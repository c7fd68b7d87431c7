"""A small bundle under a small plan, from images to the report, and what breaks the run."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from detector.attacks import Attack, AttackName, AttackSpec
from detector.attacks.adaptive import AdaptiveAttack
from detector.bundle import load_bundle
from detector.copies import parse_copy
from detector.data import ArraySource, Splits
from detector.decoupling import Backbone, GateNoise, always_open, build_backbone
from detector.errors import ControlError, DataError, GateError, InvalidInputError
from detector.jobs.calibrate import CalibrateOptions, calibrate
from detector.jobs.evaluation import (
    EvaluateOptions,
    EvaluationPlan,
    EvaluationReport,
    PlainTwin,
    control_run,
    evaluate,
)
from detector.jobs.evaluation.contenders import Contender
from detector.jobs.evaluation.controls import ControlName
from detector.jobs.evaluation.estimates import Estimate
from detector.jobs.evaluation.measured_rows import MeasuredRows
from detector.jobs.evaluation.plan import AdaptivePlan, CorruptionPlan
from detector.jobs.evaluation.roc import auroc
from detector.jobs.extract import ExtractOptions, extract
from detector.path_table import PathTable, SplitName
from detector.pipeline import Verdict
from detector.preprocessing import Preprocessing
from detector.weights import NetworkInfo, build_network, load_network, save_weights

SIDE = 8
CLASSES = ("red", "green", "blue")
LEVELS = ("flip", "shift:left")
COPIES = (*LEVELS, "bits:5", "median:3")
ATTACKS = ("fgsm:8/255", "pgd:8/255", "square:eps=8/255,queries=30")
BASELINES = ("energy", "mahalanobis", "nearest-neighbours", "feature-squeezing")
PREPROCESSING = Preprocessing(
    height=SIDE, width=SIDE, shorter_side=SIDE, mean=(0.5, 0.5, 0.5), std=(0.15, 0.15, 0.15)
)
QUICK = EvaluationPlan(
    name="quick",
    attacks=("pgd:8/255",),
    families={"gradient": (AttackName.PGD,)},
    levels=("standard",),
    fusions=("one-class",),
    images=40,
    budgets=(0.05,),
    few_shot=(),
    bootstrap=100,
)
SMALL = replace(
    QUICK,
    name="small",
    attacks=ATTACKS,
    families={"gradient": (AttackName.FGSM, AttackName.PGD), "query": (AttackName.SQUARE,)},
    levels=("fast", "standard"),
    fusions=("one-class", "learnt"),
    seeds=(0, 1),
    corruptions=CorruptionPlan(names=("fog",), severities=(1, 3)),
    shift_images=30,
    baselines=BASELINES,
    budgets=(0.05, 0.01),
    few_shot=(1, 2),
    calibration_sizes=(60, 200),
    adaptive=AdaptivePlan(levels=("standard",), images=4, steps=3, queries=3),
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A data set, and the folder with networks, tables and the bundle made from it."""

    splits: Splits
    folder: Path

    def options(self, output: Path, plan: EvaluationPlan = QUICK, **changes) -> EvaluateOptions:
        standard = EvaluateOptions(
            plan=plan,
            table=self.folder / "paths",
            bundle=self.folder / "bundle",
            output=output,
        )
        return replace(standard, **changes)

    @property
    def twin(self) -> PlainTwin:
        return PlainTwin(
            network=self.folder / "plain.safetensors", table=self.folder / "plain-paths"
        )


@pytest.fixture(scope="module")
def setting(tmp_path_factory) -> Setting:
    folder = tmp_path_factory.mktemp("setting")
    splits = Splits.divide(
        _tinted(690, seed=0),
        _tinted(180, seed=1),
        preprocessing=PREPROCESSING,
        fit_share=0.2,
        calibration_share=0.34,  # 78 of each class, of which 59 have to be predicted so
    )
    info = NetworkInfo(
        backbone=Backbone.CIFAR_RESNET20, class_names=CLASSES, preprocessing=PREPROCESSING
    )
    torch.manual_seed(0)
    plain = build_backbone(info.backbone, len(CLASSES))
    _train(plain, splits, plain)
    save_weights(folder / "plain.safetensors", plain, info)
    _extract(always_open(plain), splits, folder / "plain-paths", attacks=())

    network = build_network(info)
    network.backbone.load_state_dict(plain.state_dict(), strict=False)
    for controller in network.controllers:  # gates of both states from the start
        nn.init.normal_(controller.excite.weight)
        nn.init.zeros_(controller.excite.bias)
    generator = torch.Generator().manual_seed(0)

    def noisy(images: Tensor) -> Tensor:
        noise = GateNoise.draw(len(images), network.layout.gates, std=0.3, generator=generator)
        return network(images, noise).class_logits

    _train(network, splits, noisy)
    save_weights(folder / "network.safetensors", network, info)
    _extract(network, splits, folder / "paths", attacks=(*ATTACKS, "noise-sign:8/255"))
    calibrate(
        CalibrateOptions(
            table=folder / "paths",
            network=folder / "network.safetensors",
            output=folder / "bundle",
            copies=LEVELS,
            folds=0,
        )
    )
    return Setting(splits=splits, folder=folder)


def _tinted(count: int, *, seed: int, names: tuple[str, ...] = CLASSES) -> ArraySource:
    """Grey noise, a little more of it in the colour of the class: no copy changes that."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    images = generator.normal(128, 25, (count, 1, 1, 1))
    images = images + generator.normal(0, 14, (count, SIDE, SIDE, 3))
    images[np.arange(count), :, :, labels] += 14
    return ArraySource(images.clip(0, 255).round().astype(np.uint8), labels, names)


def _train(network: nn.Module, splits: Splits, logits, steps: int = 40) -> None:
    images = PREPROCESSING(splits.train.read(range(len(splits.train)), PREPROCESSING))
    labels = torch.from_numpy(splits.train.labels)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=steps)
    generator = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(steps):
        rows = torch.randint(len(images), (64,), generator=generator)
        loss = functional.cross_entropy(logits(images[rows]), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    network.eval()


def _extract(network, splits: Splits, folder: Path, *, attacks: tuple[str, ...]) -> None:
    options = ExtractOptions(output=folder, splits=(SplitName.TRAIN,))
    extract(network, splits, options)
    copies = tuple(parse_copy(name) for name in COPIES)
    options = replace(options, copies=copies, splits=(SplitName.CALIBRATION,))
    extract(network, splits, options)
    specs = tuple(AttackSpec.parse(label) for label in attacks)
    extract(network, splits, replace(options, splits=(SplitName.FIT,), attacks=specs))


@pytest.fixture(scope="module")
def small(setting, tmp_path_factory) -> tuple[EvaluateOptions, EvaluationReport]:
    """The small plan with everything that can be asked for."""
    options = setting.options(
        tmp_path_factory.mktemp("small"), SMALL, plain=setting.twin, adaptive=True
    )
    return options, evaluate(setting.splits, options)


@pytest.fixture(scope="module")
def quick(setting, tmp_path_factory) -> tuple[EvaluateOptions, EvaluationReport]:
    """The quick plan, of which the tests below break one part each."""
    options = setting.options(tmp_path_factory.mktemp("quick"))
    return options, evaluate(setting.splits, options)


@pytest.fixture
def again(quick, tmp_path) -> EvaluateOptions:
    """The quick plan with the rows that it has made, into another folder."""
    options, _ = quick
    shutil.copytree(options.output / "paths", tmp_path / "paths")
    return replace(options, output=tmp_path)


def test_an_evaluation_writes_its_report_with_tables_and_plots(small):
    options, report = small
    assert EvaluationReport.read(options.output / "report.json") == report
    text = (options.output / "report.md").read_text("utf-8")
    assert report.plan_digest == SMALL.digest
    assert SMALL.digest[:12] in text
    assert "What decoupling adds" in text
    plots = {path.stem for path in (options.output / "plots").iterdir()}
    assert {"auroc", "roc-standard-learnt", "shift-standard-one-class"} <= plots
    assert "few-shot-pgd-8-255" in plots


def test_every_section_of_the_report_is_filled(small):
    _, report = small
    assert [level.level for level in report.levels] == ["fast", "standard"]
    assert [level.cost.passes for level in report.levels] == [1, 2]
    for score in (*(each for level in report.levels for each in level.fusions), *report.baselines):
        assert [each.attack for each in score.attacks] == list(SMALL.attacks)
        assert all(each.detection and each.images == 40 for each in score.attacks)
        assert score.worst is not None
    assert [score.name for score in report.baselines] == list(BASELINES)
    assert {(cell.family, cell.level) for cell in report.left_out} == {
        (family, f"{level}, learnt")
        for family in ("gradient", "query")
        for level in ("fast", "standard")
    }
    assert {cell.attack for cell in report.left_out if cell.unknown} == {*SMALL.attacks}
    assert len(report.few_shot) == 3 * 2
    assert [size.images for size in report.calibration_sizes] == [60, 200]
    assert [(shift.name, shift.severity) for shift in report.shifts] == [
        *((label, None) for label in SMALL.noise),
        ("fog", 1),
        ("fog", 3),
    ]
    assert len(report.adaptive.points) == 3 * 2
    assert len(report.adaptive.health) == 8
    names = [score.name for score in report.plain_network.scores]
    assert names == ["fast, one-class", "standard, one-class", *BASELINES]


def test_every_control_is_run_on_every_fused_score_of_both_networks(small):
    report = small[1]
    own = {f"{level}, {fusion}" for level in SMALL.levels for fusion in SMALL.fusions}
    plain = {f"plain network, {level}, one-class" for level in SMALL.levels}
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
    # The table's network computes in another layout of memory: the last bit may differ.
    assert figures.detection.auroc.value == pytest.approx(expected, abs=1e-3)
    verdicts = [pipeline.detect(of_clean, row).verdict for row in range(len(clean))]
    assert fusion.false_alarms[0].pooled.hits == verdicts.count(Verdict.OFF_PATH)
    assert report.accuracy.hits == int((clean.predictions == clean.labels).sum()) > 170


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


def test_rows_that_a_larger_plan_left_are_not_read(setting, again):
    report = evaluate(setting.splits, replace(again, plan=replace(QUICK, images=30)))
    (figures,) = report.levels[0].fusions[0].attacks
    assert figures.images == 30


def test_kept_figures_of_another_attacker_are_made_again(setting, small, tmp_path):
    options, _ = small
    shutil.copytree(options.output / "adaptive", tmp_path / "adaptive")
    shutil.copytree(options.output / "paths", tmp_path / "paths")
    attackers = replace(SMALL.adaptive, epsilons=(8 / 255,), steps=1)
    plan = replace(QUICK, adaptive=attackers)
    found = evaluate(
        setting.splits, replace(options, plan=plan, output=tmp_path, plain=None)
    ).adaptive
    assert [point.epsilon for point in found.points] == [8 / 255] * 3
    kept = json.loads((tmp_path / "adaptive" / "standard-joint-pgd.json").read_text())
    assert kept["facts"]["plan"]["steps"] == 1


def test_a_table_of_another_network_is_refused(setting, tmp_path):
    options = setting.options(tmp_path, table=setting.twin.table)
    with pytest.raises(DataError, match=r"with the bundle's network\. Found another network"):
        evaluate(setting.splits, options)
    assert not list(tmp_path.iterdir())


def test_images_of_other_classes_are_refused(setting, tmp_path):
    other = _tinted(30, seed=2, names=("cyan", "magenta", "yellow"))
    splits = Splits.divide(other, other, preprocessing=PREPROCESSING)
    with pytest.raises(DataError, match=r"the classes red, green, blue\. Found cyan"):
        evaluate(splits, setting.options(tmp_path))


def test_a_table_that_the_bundle_was_not_calibrated_with_is_refused(setting, tmp_path):
    train = replace(setting.splits.train, ids=setting.splits.train.ids[::2])
    network, _ = load_network(setting.folder / "network.safetensors")
    table = tmp_path / "paths"
    _extract(network, replace(setting.splits, train=train), table, attacks=())
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
    options = setting.options(tmp_path, replace(QUICK, **changes))
    with pytest.raises(InvalidInputError, match=message):
        evaluate(setting.splits, options)
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
    assert EvaluationReport.read(again.output / "report.json").plan_digest == QUICK.digest


def ignored_epsilon(monkeypatch) -> None:
    """The attack of no strength is a strong one."""
    build = AttackSpec.build

    def strong(spec: AttackSpec) -> Attack:
        return build(AttackSpec.parse("pgd:8/255") if spec.label == "pgd:0" else spec)

    monkeypatch.setattr(AttackSpec, "build", strong)


def told_scores(monkeypatch) -> None:
    """Scores see in which part of the table a row lies."""
    scores = Contender.scores

    def told(contender: Contender, images):
        return scores(contender, images) + 5.0 * (images.attack != "clean")

    monkeypatch.setattr(Contender, "scores", told)


def unshuffled_labels(monkeypatch) -> None:
    monkeypatch.setattr(control_run, "shuffled", lambda attacked, *, seed: attacked)


def lost_noise(monkeypatch) -> None:
    """One of the three kinds of noise is not measured."""
    found = MeasuredRows.of

    def lost(*arguments):
        rows = found(*arguments)
        return replace(rows, noisy=rows.noisy[:-1])

    monkeypatch.setattr(MeasuredRows, "of", lost)


def dropped_noise_control(monkeypatch) -> None:
    monkeypatch.setattr(control_run, "noise_control", lambda *_, **__: ())


@pytest.mark.parametrize(
    ("sabotage", "broken", "message"),
    [
        (ignored_epsilon, {ControlName.NULL, ControlName.IDENTITY}, "null .*identity"),
        (told_scores, {ControlName.NULL, ControlName.IDENTITY}, "null .*identity"),
        (unshuffled_labels, {ControlName.SHUFFLE}, "label-shuffle .*expected an AUROC of 0.5"),
        (lost_noise, {ControlName.SIGN_NOISE}, "noise-sign .*found nothing"),
        (dropped_noise_control, set(), "noise-gaussian: it was not run"),
    ],
)
def test_a_control_that_is_broken_on_purpose_fails_the_run_after_its_report(
    setting, again, monkeypatch, sabotage, broken, message
):
    if sabotage is ignored_epsilon:
        shutil.rmtree(again.output / "paths")
    sabotage(monkeypatch)
    with pytest.raises(ControlError, match=message):
        evaluate(setting.splits, again)
    report = EvaluationReport.read(again.output / "report.json")
    assert {control.name for control in report.controls if not control.holds} == broken
    text = (again.output / "report.md").read_text("utf-8")
    assert text.count("**broken**") == len(broken)
