"""Images are judged by what has not seen them, and places stand on one scale."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from detector.conformal import ConformalTable, Guarantee, Promise
from detector.jobs.calibration_report.judge import Panel
from detector.jobs.evaluation.contenders import Contender
from detector.jobs.evaluation.measured_images import MeasuredImages
from detector.jobs.evaluation.roc import threshold_at
from detector.pipeline import Level, LevelName
from detector.scoring import FusionName


def judge(calibration: list[float], *, sign: float = 1.0) -> Contender:
    """A level whose score is the second of two statistics, of one class."""
    table = ConformalTable(
        torch.tensor(calibration),
        torch.zeros(len(calibration), dtype=torch.int64),
        1,
        promise=Promise(guarantee=Guarantee.PLAIN),
    )
    suspicion = SimpleNamespace(
        classes=1,
        copies=(),
        statistics=SimpleNamespace(names=("own",)),
        fusion=lambda values: sign * values[:, 0],
    )
    level = Level(name=LevelName.FAST, suspicion=suspicion, conformal=table)
    ground = SimpleNamespace(widest=SimpleNamespace(names=("another", "own")))
    return Contender(fusion=FusionName.ONE_CLASS, level=level, ground=ground)


def alone(calibration: list[float]) -> Panel:
    return Panel(judges=[judge(calibration)], folds={})


def images(scores: list[float], ids: list[int] | None = None) -> MeasuredImages:
    """Images of class 0 whose second statistic is given."""
    count = len(scores)
    zeros = np.zeros(count, dtype=np.int64)
    return MeasuredImages(
        attack="clean",
        image_ids=np.arange(count) if ids is None else np.array(ids),
        labels=zeros,
        original=zeros,
        predicted=zeros,
        success=zeros > 0,
        statistics=torch.tensor([[100.0, score] for score in scores]),
        bits=np.zeros((count, 1), dtype=np.bool_),
        baselines={},
    )


def test_a_place_is_the_share_of_calibration_images_below_and_goes_on_above_them() -> None:
    found = alone([4.0, 1.0, 3.0, 2.0]).judge(images([0.5, 2.5, 4.0, 5.0, 7.0])).places()
    # Above by 1 and by 3: 1 + (1/2) / 4 and 1 + (3/4) / 4.
    assert found.tolist() == [0.0, 0.5, 0.75, 1.125, 1.1875]


@pytest.mark.parametrize("budget", [0.05, 0.2, 0.5])
def test_a_threshold_on_places_flags_what_the_same_threshold_on_scores_flags(budget: float) -> None:
    generator = np.random.default_rng(3)
    calibration = generator.normal(size=150).round(1).astype(np.float32)  # with ties
    scores = generator.normal(1, 2, size=400).round(1).astype(np.float32)
    one = alone(calibration.tolist())
    seen = images(scores.tolist())
    expected = scores > threshold_at(calibration, budget)
    own = one.judge(images(calibration.tolist())).places()
    found = one.judge(seen).places() > threshold_at(own, budget)
    assert 0 < expected.sum() < len(scores)
    # Equal calibration scores have equal places; what equals the threshold is flagged by neither.
    np.testing.assert_array_equal(found, expected)


def test_there_are_no_flags_where_the_calibration_is_too_small_for_the_budget() -> None:
    one = alone([float(place) for place in range(30)])
    flags = one.judge(images([100.0, 0.0])).flags([0.05, 0.01])
    assert 0.01 not in flags
    assert flags[0.05].tolist() == [True, False]


def test_each_image_is_judged_by_the_judge_of_its_fold() -> None:
    calibration = [float(place) for place in range(40)]
    upside_down = judge([-value for value in calibration], sign=-1.0)
    panel = Panel(judges=[judge(calibration), upside_down], folds={7: 0, 8: 1, 9: 0})
    judged = panel.judge(images([100.0, 100.0, -100.0], ids=[7, 8, 9]))
    assert judged.flags([0.05])[0.05].tolist() == [True, False, False]
    places = judged.places()
    assert places[0] > 1
    assert places[1:].tolist() == [0.0, 0.0]


def test_a_smaller_calibration_is_of_the_chosen_images_alone() -> None:
    judged = alone([1.0, 2.0, 3.0, 100.0]).judge(images([50.0, 2.0]))
    smaller = judged.with_calibration(np.array([0, 2]))
    assert judged.places()[0] == 0.75
    assert smaller.judges[0].level.conformal.scores.tolist() == [1.0, 3.0]
    assert smaller.places()[1] == 0.5
