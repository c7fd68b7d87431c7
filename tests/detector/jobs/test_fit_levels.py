"""Levels fitted and calibrated on what was measured once for all of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from detector.conformal import Guarantee, Promise
from detector.errors import CalibrationError
from detector.jobs.fit_levels import Measured, fit_level, measure
from detector.jobs.fit_rows import FitRows, Kind, read_fit_rows
from detector.jobs.fit_scores import fit_path_scores
from detector.jobs.fusions import LearntFit, OneClassFit
from detector.path_table import CLEAN, PathTable, SplitName
from detector.paths import PathLayout
from detector.pipeline import LevelName
from detector.scoring import PathScores, Statistics
from detector.scoring.classifiers import AdaBoost

LAYOUT = PathLayout(names=("one", "two"), sizes=(6, 10))
LEVELS = {
    LevelName.FAST: (),
    LevelName.STANDARD: ("flip",),
    LevelName.THOROUGH: ("flip", "shift:left", "bits:5"),
}
WIDEST = LEVELS[LevelName.THOROUGH]
PLAIN = Promise(guarantee=Guarantee.PLAIN)


@pytest.fixture
def measured(make_clean, make_seen) -> Callable[..., Measured]:
    """Synthetic images, measured: clean fit images and so many calibration images."""

    def make(calibration: int) -> Measured:
        statistics = Statistics(PathScores(LAYOUT, 3).fit(make_clean(300, LAYOUT)), WIDEST)
        fit, held = (
            statistics(make_seen(torch.arange(n) % 3, LAYOUT, copies=WIDEST, seed=seed))
            for n, seed in ((300, 1), (calibration, 2))
        )
        rows = FitRows(
            statistics=fit,
            image_ids=torch.arange(300),
            parts=torch.zeros(300, dtype=torch.int64),
            labels=(CLEAN,),
            kinds=(Kind.CLEAN,),
        )
        return Measured(
            statistics=statistics,
            fit=rows,
            calibration=held,
            predicted=torch.arange(calibration) % 3,
        )

    return make


@pytest.mark.parametrize("name", LevelName)
def test_the_false_alarm_promise_holds_at_every_level(measured, make_seen, name):
    """Over many calibrations a share k / (n + 1) of new clean images of each class is flagged."""
    rounds, held, fresh, alpha = 40, 60, 200, 0.05  # images of each of three classes
    everything = measured(3 * held * rounds).of(LEVELS[name])
    labels = torch.arange(3 * fresh * rounds) % 3
    seen = make_seen(labels, LAYOUT, copies=WIDEST, seed=3)
    values = everything.statistics(seen)
    shares = []
    for each in range(rounds):
        part = slice(each * 3 * held, (each + 1) * 3 * held)
        once = Measured(
            statistics=everything.statistics,
            fit=everything.fit,
            calibration=everything.calibration[part],
            predicted=everything.predicted[part],
        )
        level = fit_level(name, once, OneClassFit(), promise=PLAIN, seed=0)
        new = slice(each * 3 * fresh, (each + 1) * 3 * fresh)
        flags = level.conformal.flags(level.suspicion.fusion(values[new]), labels[new], alpha)
        shares.append(float(flags.float().mean()))
    rank = math.floor(alpha * (held + 1))
    expected = rank / (held + 1)
    # The share of one calibration is Beta(k, n + 1 - k); that of the images that are drawn is
    # binomial around it. Three classes and all rounds are independent.
    beta = expected * (1 - expected) / (held + 2)
    binomial = expected * (1 - expected) / fresh
    error = math.sqrt((beta + binomial) / (3 * rounds))
    assert expected <= alpha
    assert sum(shares) / rounds == pytest.approx(expected, abs=5 * error)


def test_a_level_is_that_of_its_own_statistics(measured):
    everything = measured(60)
    for name, copies in LEVELS.items():
        part = everything.of(copies)
        level = fit_level(name, part, OneClassFit(), promise=PLAIN, seed=0)
        assert (level.name, level.copies) == (name, copies)
        assert level.suspicion.statistics is part.statistics
        assert level.suspicion.statistics.path_scores is everything.statistics.path_scores
        assert torch.equal(level.conformal.scores, level.suspicion.fusion(part.calibration))
        assert torch.equal(level.conformal.predicted, everything.predicted)
        assert level.conformal.promise == PLAIN


def test_some_of_the_copies_are_some_of_the_columns(measured):
    everything = measured(12)
    for copies in (*LEVELS.values(), ("bits:5", "flip")):
        part = everything.of(copies)
        assert part.statistics.copies == copies
        place = [everything.statistics.names.index(name) for name in part.statistics.names]
        assert torch.equal(part.calibration, everything.calibration[:, place])
        assert torch.equal(part.fit.statistics, everything.fit.statistics[:, place])


def test_a_calibration_image_on_which_the_network_broke_down_is_refused(measured):
    everything = measured(60)
    everything.calibration[7, 3] = torch.nan
    with pytest.raises(CalibrationError, match="Found 1 of 60"):
        fit_level(LevelName.FAST, everything, OneClassFit(), promise=PLAIN, seed=0)


def test_a_learnt_level_needs_attacks(measured):
    with pytest.raises(CalibrationError, match="attacks on fit images that succeeded"):
        fit_level(LevelName.FAST, measured(60), LearntFit(AdaBoost()), promise=PLAIN, seed=0)


def test_images_of_a_table_are_measured_with_their_copies(make_table, tmp_path):
    table = PathTable(make_table(tmp_path, copies=("flip",)))
    statistics = Statistics(fit_path_scores(table), ("flip",))
    found = measure(table, statistics)
    (rows,) = table.with_copies(SplitName.CALIBRATION)
    assert torch.equal(found.calibration, statistics(rows.seen))
    assert torch.equal(found.predicted, rows.original.predictions)
    assert torch.equal(found.fit.statistics, read_fit_rows(table, statistics).statistics)
