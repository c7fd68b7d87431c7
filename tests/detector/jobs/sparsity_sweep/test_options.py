"""Options and plans check themselves."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from detector.errors import InvalidInputError
from detector.jobs.sparsity_sweep import MeasurePlan, SweepOptions
from detector.jobs.train import TrainingOptions


def made(*shares: float, **training: object) -> SweepOptions:
    return SweepOptions(training=TrainingOptions(output=Path("o"), **training), shares=shares)


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ((1.5,), r"should lie in \[0, 1\]\. Found 1\.5"),
        ((1.0, -0.1), r"should lie in \[0, 1\]\. Found -0\.1"),
        ((float("nan"),), r"should lie in \[0, 1\]\. Found nan"),
        ((0.5, 1.0, 0.5), r"asked for once\. Found 0\.5 2 times"),
        ((1, 1.0), r"asked for once\. Found 1 2 times"),
        ((), "at least one share of open gates. Found none"),
    ],
)
def test_shares_that_cannot_be_trained_are_refused(shares: tuple[float, ...], told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        made(*shares)


def test_a_training_that_stops_before_its_end_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"to their end\. Found a stop after 3 steps"):
        made(1.0, stop_after_steps=3)


def test_a_folder_is_named_by_its_share() -> None:
    options = made(1, 0.85)
    assert [options.folder(share).as_posix() for share in options.shares] == [
        "o/open-1.0",
        "o/open-0.85",
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"attacks": ()}, "Found none"),
        ({"attacks": ("pgd:8/255", "pgd:8/255,steps=10")}, "Attacks should be named, each once"),
        ({"attacks": ("noise-sign:8/255",)}, "Found noise-sign:8/255, which is noise"),
        ({"attacks": ("unknown",)}, "Found 'unknown'"),
        ({"attacked": 0}, "attacked should be at least 1. Found 0"),
        ({"train_images": 0}, "train_images should be at least 1. Found 0"),
        ({"timed": 0}, "timed should be at least 1. Found 0"),
        ({"replicates": 1}, "replicates should be at least 2. Found 1"),
    ],
)
def test_a_plan_that_measures_nothing_is_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        dataclasses.replace(MeasurePlan(), **changes)
