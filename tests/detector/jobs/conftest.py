"""A tiny data set with its four splits, and a tiny decoupled network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.attacks import AttackSpec
from detector.data import ArraySource, Splits
from detector.decoupling import DecoupledNetwork
from detector.decoupling.backbones import CifarResNet
from detector.jobs.extract import ExtractOptions
from detector.path_table import SplitName
from detector.preprocessing import Preprocessing

CLASSES = ("a", "b", "c", "d")


@pytest.fixture
def tiny_splits() -> Splits:
    generator = np.random.default_rng(0)
    train, test = (
        ArraySource(
            generator.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8),
            np.arange(count) % len(CLASSES),
            CLASSES,
        )
        for count in (40, 50)
    )
    preprocessing = Preprocessing(
        height=8, width=8, shorter_side=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )
    return Splits.divide(train, test, preprocessing=preprocessing)


@pytest.fixture
def tiny_network() -> DecoupledNetwork:
    torch.manual_seed(0)
    return DecoupledNetwork(CifarResNet(1, len(CLASSES), widths=(8, 8, 8))).eval()


@pytest.fixture
def options() -> Callable[..., ExtractOptions]:
    """Options of a small extraction into a folder, with changes."""
    attacks = (AttackSpec.parse("pgd:8/255,steps=2"),)

    def make(folder: Path, **changes: object) -> ExtractOptions:
        standard = ExtractOptions(
            output=folder, splits=(SplitName.TEST,), attacks=attacks, batch_size=8, shard_size=20
        )
        return dataclasses.replace(standard, **changes)

    return make


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Name and bytes of each file in a folder."""
    return lambda folder: {path.name: path.read_bytes() for path in folder.iterdir()}
