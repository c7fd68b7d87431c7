"""A tiny data set, two networks trained on it, their tables, a bundle, and two evaluations."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from detector.attacks import AttackName, AttackSpec
from detector.copies import parse_copy
from detector.data import ArraySource, Splits
from detector.decoupling import Backbone, GateNoise, always_open, build_backbone
from detector.jobs.calibrate import CalibrateOptions, calibrate
from detector.jobs.evaluation import (
    EvaluateOptions,
    EvaluationPlan,
    EvaluationReport,
    PlainTwin,
    evaluate,
)
from detector.jobs.evaluation.plan import AdaptivePlan, CorruptionPlan
from detector.jobs.extract import ExtractOptions, extract
from detector.path_table import SplitName
from detector.preprocessing import Preprocessing
from detector.weights import NetworkInfo, build_network, save_weights

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
    transfer=("pgd:8/255", "pgd:0"),  # the second can never succeed
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

    @staticmethod
    def tinted(count: int, *, seed: int, names: tuple[str, ...] = CLASSES) -> ArraySource:
        """Grey noise, a little more of it in the colour of the class: no copy changes that."""
        generator = np.random.default_rng(seed)
        labels = np.arange(count) % len(CLASSES)
        images = generator.normal(128, 25, (count, 1, 1, 1))
        images = images + generator.normal(0, 14, (count, SIDE, SIDE, 3))
        images[np.arange(count), :, :, labels] += 14
        return ArraySource(images.clip(0, 255).round().astype(np.uint8), labels, names)

    @staticmethod
    def extract(network, splits: Splits, folder: Path, *, attacks: tuple[str, ...] = ()) -> None:
        """All that calibration reads: train, fit and calibration images, attacks on fit images."""
        options = ExtractOptions(output=folder, splits=(SplitName.TRAIN,))
        extract(network, splits, options)
        copies = tuple(parse_copy(name) for name in COPIES)
        options = replace(options, copies=copies, splits=(SplitName.CALIBRATION,))
        extract(network, splits, options)
        specs = tuple(AttackSpec.parse(label) for label in attacks)
        extract(network, splits, replace(options, splits=(SplitName.FIT,), attacks=specs))

    @property
    def others(self) -> tuple[Path, Path]:
        """A plain network and a decoupled one, neither of which is the bundle's."""
        return self.folder / "plain.safetensors", self.folder / "other.safetensors"

    @property
    def twin(self) -> PlainTwin:
        return PlainTwin(
            network=self.folder / "plain.safetensors", table=self.folder / "plain-paths"
        )


@pytest.fixture(scope="session")
def setting(tmp_path_factory) -> Setting:
    folder = tmp_path_factory.mktemp("setting")
    splits = Splits.divide(
        Setting.tinted(690, seed=0),
        Setting.tinted(180, seed=1),
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
    Setting.extract(always_open(plain), splits, folder / "plain-paths")

    network = build_network(info)
    network.backbone.load_state_dict(plain.state_dict())
    for controller in network.controllers:  # gates of both states from the start
        nn.init.normal_(controller.excite.weight)
        nn.init.zeros_(controller.excite.bias)
    generator = torch.Generator().manual_seed(0)

    def noisy(images: Tensor) -> Tensor:
        noise = GateNoise.draw(len(images), network.layout.gates, std=0.3, generator=generator)
        return network(images, noise).class_logits

    _train(network, splits, noisy)
    save_weights(folder / "network.safetensors", network, info)
    Setting.extract(network, splits, folder / "paths", attacks=(*ATTACKS, "noise-sign:8/255"))
    calibrate(
        CalibrateOptions(
            table=folder / "paths",
            network=folder / "network.safetensors",
            output=folder / "bundle",
            copies=LEVELS,
            folds=0,
        )
    )
    torch.manual_seed(1)
    other = replace(info, provenance={"seed": 1})
    save_weights(folder / "other.safetensors", build_network(other), other)
    return Setting(splits=splits, folder=folder)


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


@pytest.fixture(scope="session")
def small(setting, tmp_path_factory) -> tuple[EvaluateOptions, EvaluationReport]:
    """The small plan with everything that can be asked for."""
    options = setting.options(
        tmp_path_factory.mktemp("small"),
        SMALL,
        plain=setting.twin,
        through=setting.others,
        adaptive=True,
    )
    return options, evaluate(setting.splits, options)


@pytest.fixture(scope="session")
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
