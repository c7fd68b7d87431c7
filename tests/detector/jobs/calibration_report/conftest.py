"""A report with everything in it that is hard to show, and bundles of synthetic tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from detector.bundle import load_bundle
from detector.jobs.calibrate import CalibrateOptions, calibrate
from detector.jobs.calibration_report import CalibrationReport, ReportOptions
from detector.jobs.calibration_report.origin import Origin, Sources
from detector.jobs.calibration_report.sections import (
    CardLevel,
    HarmlessFigures,
    LayerGates,
    LevelReport,
    ModelCard,
    PathMaps,
    SizePoint,
)
from detector.jobs.evaluation.estimates import Estimate, Share
from detector.jobs.evaluation.false_alarms import ClassFalseAlarms, FalseAlarms
from detector.jobs.evaluation.figures import (
    AttackFigures,
    Detection,
    ScoreFigures,
    ShareAtBudget,
    WorstAttack,
)
from detector.jobs.evaluation.report_sections import FewShotPoint
from detector.jobs.evaluation.roc import ROC_GRID
from detector.weights import save_weights

BUDGETS = (0.05, 0.01, 0.001)
ATTACKS = tuple(f"an-attack-with-a-long-name-{place}:8/255" for place in range(11))
CLASSES = ('<b>cat</b> & "dog"', "a class with quite a long name indeed", "frog", "newt")
LAYERS = tuple(f"features.stage{place // 4}.block{place % 4}.convolution" for place in range(40))


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.04, high=min(1.0, value + 0.04))


def shares(hits: int, total: int = 200) -> tuple[ShareAtBudget, ...]:
    """A share at the first two budgets, and none at the third."""
    found = [Share.of(hits, total), Share.of(hits // 3, total), None]
    return tuple(
        ShareAtBudget(budget=budget, share=share)
        for budget, share in zip(BUDGETS, found, strict=True)
    )


def attack(place: int) -> AttackFigures:
    area = 0.9 - 0.04 * place
    detection = Detection(
        auroc=estimate(area),
        found=shares(180 - 10 * place),
        flagged=shares(170 - 10 * place)[:2],
        roc=tuple(min(1.0, rate ** (0.2 + 0.05 * place)) for rate in ROC_GRID),
    )
    return AttackFigures(
        attack=ATTACKS[place],
        images=220,
        success=Share.of(200, 220),
        detection=None if place == 10 else detection,  # one that never succeeds
        held=(),
    )


def alarms(budget: float) -> FalseAlarms:
    own = (Share.of(3, 70), Share.of(9, 60), Share.of(0, 70), None)
    return FalseAlarms(
        budget=budget,
        pooled=Share.of(12, 200),
        correct=Share.of(10, 190),
        misclassified=Share.of(2, 10),
        classes=tuple(
            ClassFalseAlarms(name=name, flagged=share, chance=0.5, keeps=share != own[1])
            for name, share in zip(CLASSES, own, strict=True)
        ),
    )


def level(name: str) -> LevelReport:
    attacks = tuple(attack(place) for place in range(len(ATTACKS)))
    return LevelReport(
        level=name,
        score=ScoreFigures(
            name=name,
            attacks=attacks,
            mean_auroc=estimate(0.72),
            worst=WorstAttack(attack=ATTACKS[9], auroc=estimate(0.54)),
            mean_found=(),
            false_alarms=(alarms(0.05), alarms(0.01)),
        ),
        harmless=(HarmlessFigures(name="noise-sign:8/255", flagged=shares(16)),),
    )


@pytest.fixture
def sample_report() -> CalibrationReport:
    """Made up: long names, an attack that never succeeds, a class that no image is predicted as."""
    return CalibrationReport(
        card=ModelCard(
            digest="ab" * 32,
            created="2025-01-02T03:04:05+00:00",
            backbone="cifar-resnet20",
            layers=len(LAYERS),
            gates=30 * len(LAYERS),
            width=32,
            height=32,
            levels=(
                CardLevel(name="standard", passes=2, copies=("flip",), fusion="one-class"),
                CardLevel(name="fast", passes=1, copies=(), fusion="one-class"),
            ),
            alpha=0.05,
            guarantee="pac",
            confidence=0.95,
            needed=(59, 299, 2995),
            calibration_counts=(70, 60, 70, 0),
            provenance={"calibration": {"command": "offpath calibrate --table " + "x" * 200}},
            text="# A card\n\n| a | b |\n|---|---|\n" + "| " + "wide " * 60 + "| b |\n",
        ),
        class_names=CLASSES,
        sources=Sources(
            clean=Origin.CROSS_FITTED,
            attacked=Origin.CROSS_FITTED,
            clean_images=200,
            negatives=190,
            calibration_images=200,
            folds=3,
            paths_of="train",
        ),
        budgets=BUDGETS,
        levels=(level("standard"), level("fast")),
        gates=tuple(
            LayerGates(
                name=name,
                always_open=10,
                always_closed=place % 20,
                input_dependent=20 - place % 20,
                open_share=0.5,
            )
            for place, name in enumerate(LAYERS)
        ),
        paths=PathMaps(
            images=(70, 60, 70, 0),
            open_shares=(*[tuple(i / 40 for i in range(40))] * 3, ()),
            distances=(*[tuple(i / 400 for i in range(40))] * 3, ()),
        ),
        few_shot=tuple(
            FewShotPoint(
                classifier=name,
                attack=ATTACKS[0],
                images_per_class=count,
                auroc=estimate(0.6 + 0.03 * place + 0.004 * count),
            )
            for place, name in enumerate(("random-forest", "adaboost", "gradient-boosting"))
            for count in (1, 2, 5, 10, 20, 50)
        ),
        sizes=tuple(
            SizePoint(
                images=size,
                false_alarms=None if size < 500 else estimate(0.04),
                found=None if size < 500 else estimate(0.7),
            )
            for size in (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
        ),
    )


@pytest.fixture
def calibrated(tmp_path: Path, resnet20, network_info, make_table) -> Callable[..., ReportOptions]:
    """A bundle calibrated on a synthetic table, with changes to that table or to the options."""

    def make(changes: dict | None = None, **table: object) -> ReportOptions:
        network = tmp_path / "network.safetensors"
        save_weights(network, resnet20, network_info)
        folder = make_table(tmp_path / "table", **table)
        calibrate(
            CalibrateOptions(
                table=folder,
                network=network,
                output=tmp_path / "bundle",
                folds=0,
                **(changes or {}),
            )
        )
        return ReportOptions(
            table=folder, output=tmp_path / "report", bundle=tmp_path / "bundle", few_shot=()
        )

    return make


@pytest.fixture
def made(calibrated: Callable[..., ReportOptions]) -> Callable[..., SimpleNamespace]:
    """The same with its report and the loaded bundle."""

    def make(changes: dict | None = None, **table: object) -> SimpleNamespace:
        from detector.jobs.calibration_report import make_report

        options = calibrated(changes, **table)
        return SimpleNamespace(
            options=options, report=make_report(options), bundle=load_bundle(options.bundle)
        )

    return make
