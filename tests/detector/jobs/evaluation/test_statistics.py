"""Figures against scipy and scikit-learn, and intervals against what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, binomtest, norm
from sklearn.metrics import roc_auc_score

from detector.conformal import ConformalTable, Guarantee, Promise
from detector.errors import InvalidInputError
from detector.jobs.evaluation.bootstrap import Resamples, difference, mean_of
from detector.jobs.evaluation.estimates import (
    Estimate,
    Share,
    chance_of_more,
    clopper_pearson,
    difference_of,
)
from detector.jobs.evaluation.false_alarms import false_alarms
from detector.jobs.evaluation.roc import auroc, roc_curve, threshold_at


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def truth(negatives, positives):
    return np.r_[np.zeros(len(negatives)), np.ones(len(positives))]


def test_the_interval_of_replicates_holds_95_per_cent_of_the_finite_ones():
    replicates = np.r_[np.linspace(0, 1, 41), np.nan, np.inf]
    found = Estimate.of_replicates(0.5, replicates)
    assert (found.low, found.high) == pytest.approx((0.025, 0.975))


@pytest.mark.parametrize("value", [-1.0, 2.0])
def test_the_interval_of_replicates_holds_the_figure_itself(value):
    assert Estimate.of_replicates(value, np.linspace(0, 1, 41)).contains(value)


def test_without_finite_replicates_the_interval_is_the_figure():
    expected = Estimate(value=0.3, low=0.3, high=0.3)
    assert Estimate.of_replicates(0.3, np.array([np.nan])) == expected


@pytest.mark.parametrize("values", [3, 20, 10_000])  # few values make many ties
def test_the_area_is_that_of_scikit_learn_with_ties_counting_one_half(generator, values):
    negatives, positives = generator.integers(values, size=97), generator.integers(values, size=31)
    expected = roc_auc_score(truth(negatives, positives), np.r_[negatives, positives])
    assert auroc(negatives, positives) == pytest.approx(expected, abs=1e-12)
    assert auroc(torch.from_numpy(negatives), torch.from_numpy(positives)) == pytest.approx(
        expected, abs=1e-12
    )


def test_each_replicate_is_the_area_of_the_images_that_it_draws(generator):
    negatives, positives = generator.integers(9, size=40), generator.integers(3, 12, size=15)
    images = generator.permutation(20)[:15]
    resamples = Resamples(negatives=40, images=20, replicates=7, seed=3)
    found = resamples.rank(negatives).auroc(positives, images)
    assert found.value == pytest.approx(auroc(negatives, positives))
    drawn_clean = np.diff(resamples.cumulated(np.arange(40)), axis=1)
    drawn_attacked = resamples.weights(images, 15)
    for row, clean, attacked in zip(found.replicates, drawn_clean, drawn_attacked, strict=True):
        assert row == pytest.approx(
            auroc(np.repeat(negatives, clean), np.repeat(positives, attacked))
        )


def test_the_bootstrap_interval_covers_the_truth_as_often_as_it_says(generator):
    runs, size, distance = 300, 80, 1.0
    area = norm.cdf(distance / math.sqrt(2))
    covered = 0
    for seed in range(runs):
        resamples = Resamples(negatives=size, images=size, replicates=200, seed=seed)
        ranked = resamples.rank(generator.normal(size=size))
        scores = generator.normal(distance, size=size)
        covered += ranked.auroc(scores, np.arange(size)).estimate(0.95).contains(area)
    # Percentile intervals of 80 images may be off their 95 % by up to three points; beyond that,
    # chance alone explains the count with less than 1e-4 at either end.
    assert binom.ppf(1e-4, runs, 0.92) <= covered <= binom.ppf(1 - 1e-4, runs, 0.98)


def test_scores_that_never_overlap_still_have_an_interval(generator):
    resamples = Resamples(negatives=50, images=10, replicates=20, seed=0)
    ranked = resamples.rank(np.zeros(50))
    perfect = ranked.auroc(np.ones(10), np.arange(10)).estimate(0.95)
    assert (perfect.value, perfect.low, perfect.high) == (1, pytest.approx(0.025**0.1), 1)
    hopeless = ranked.auroc(-np.ones(10), np.arange(10)).estimate(0.95)
    assert (hopeless.value, hopeless.low, hopeless.high) == (0, 0, pytest.approx(1 - 0.025**0.1))


def test_a_difference_of_scores_on_the_same_images_is_surer_than_the_scores(generator):
    clean, attacked = generator.normal(size=300), generator.normal(1, size=100)
    resamples = Resamples(negatives=300, images=100, replicates=300, seed=0)
    first = resamples.rank(clean).auroc(attacked, np.arange(100))
    noisy = resamples.rank(clean + 0.1 * generator.normal(size=300)).auroc(
        attacked + 0.1 * generator.normal(size=100), np.arange(100)
    )
    apart = difference(first, noisy)
    single = first.estimate()
    assert apart.value == first.value - noisy.value
    assert apart.high - apart.low < (single.high - single.low) / 2
    assert difference(first, first) == Estimate(value=0, low=0, high=0)


def test_a_mean_over_attacks_on_the_same_images_keeps_their_dependence(generator):
    clean, attacked = generator.normal(size=300), generator.normal(1, size=100)
    resamples = Resamples(negatives=300, images=100, replicates=300, seed=0)
    one = resamples.rank(clean).auroc(attacked, np.arange(100))
    # The same attack twice tells nothing more: its mean is no surer.
    assert mean_of([one, one]).estimate() == one.estimate()


def test_draws_are_the_same_for_the_same_seed_and_others_for_another():
    def draws(seed):
        resamples = Resamples(negatives=30, images=5, replicates=9, seed=seed)
        return resamples.cumulated(np.arange(30))

    assert (draws(1) == draws(1)).all()
    assert (draws(1) != draws(2)).any()


@pytest.mark.parametrize(("hits", "total"), [(0, 1), (0, 40), (3, 40), (39, 40), (40, 40)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_the_interval_of_a_share_is_that_of_clopper_and_pearson(hits, total, confidence):
    expected = binomtest(hits, total).proportion_ci(confidence, method="exact")
    assert clopper_pearson(hits, total, confidence=confidence) == pytest.approx(
        (expected.low, expected.high)
    )
    share = Share.of(hits, total, confidence=confidence)
    assert share.estimate.contains(share.rate)


@pytest.mark.parametrize("hits", [0, 1, 7, 50])
def test_the_chance_of_more_is_that_of_the_binomial_test(hits):
    expected = binomtest(hits, 50, 0.05, alternative="greater").pvalue
    assert chance_of_more(hits, 50, 0.05) == pytest.approx(expected)


@pytest.mark.parametrize(("budget", "size"), [(0.05, 500), (0.01, 500), (0.05, 19), (0.001, 500)])
def test_a_threshold_flags_what_the_plain_conformal_rank_flags(generator, budget, size):
    calibration = generator.integers(300, size=size)
    scores = generator.integers(300, size=400)
    table = ConformalTable(
        torch.from_numpy(calibration),
        torch.zeros(size, dtype=torch.int64),
        1,
        promise=Promise(guarantee=Guarantee.PLAIN),
    )
    expected = table.flags(torch.from_numpy(scores), torch.zeros(400, dtype=torch.int64), budget)
    assert (scores > threshold_at(calibration, budget)).tolist() == expected.tolist()


def test_the_curve_flags_no_more_clean_images_than_it_says(generator):
    negatives, positives = generator.integers(50, size=100), generator.integers(20, 70, size=60)
    grid = [0, 0.01, 0.07, 0.5, 1]
    for rate, found in zip(grid, roc_curve(negatives, positives, grid), strict=True):
        best = max(
            (positives > level).mean()
            for level in range(-1, 71)
            if (negatives > level).mean() <= rate + 1e-12
        )
        assert found == pytest.approx(best)


def test_false_alarms_are_counted_by_predicted_class_and_by_correctness():
    found = false_alarms(
        flags=np.array([True, False, True, False, False, False]),
        predicted=np.array([0, 0, 1, 1, 1, 1]),
        labels=np.array([0, 1, 0, 1, 1, 1]),
        class_names=("cat", "dog", "frog"),
        budget=0.3,
    )
    assert (found.pooled.hits, found.pooled.total) == (2, 6)
    assert (found.correct.hits, found.correct.total) == (1, 4)
    assert (found.misclassified.hits, found.misclassified.total) == (1, 2)
    assert [(each.flagged.hits, each.flagged.total) for each in found.classes[:2]] == [
        (1, 2),
        (1, 4),
    ]
    assert found.classes[2].flagged is None
    assert found.keeps
    assert not found.within


@pytest.mark.parametrize(("hits", "keeps"), [(50, True), (63, True), (68, False)])
def test_a_class_breaks_its_promise_only_where_chance_hardly_explains_it(hits, keeps):
    flags = np.arange(2000) < hits
    predicted = np.r_[np.zeros(1000, int), np.ones(1000, int)]
    found = false_alarms(
        flags=flags, predicted=predicted, labels=predicted, class_names=("cat", "dog"), budget=0.05
    )
    chance = binomtest(hits, 1000, 0.05, alternative="greater").pvalue
    assert found.classes[0].chance == pytest.approx(chance)
    assert bool(chance > 0.05 / 2) is keeps
    assert (found.classes[0].keeps, found.keeps) == (keeps, keeps)


@pytest.mark.parametrize(
    ("refused", "match"),
    [
        (lambda: auroc([], [1.0]), "negatives should hold at least one"),
        (lambda: auroc([0.0], [math.nan]), "positives should be finite"),
        (lambda: auroc([[0.0]], [1.0]), r"shape \(N,\)"),
        (lambda: threshold_at([1.0], 1.5), "between 0 and 1"),
        (lambda: Share.of(3, 2), "at least one image"),
        (lambda: Share.of(0, 0), "at least one image"),
        (lambda: Estimate(value=0.5, low=0.6, high=0.4), "right way round"),
        (lambda: Resamples(negatives=1, images=1, replicates=1, seed=0), "at least 2"),
        (lambda: roc_curve([0.0], [1.0], [1.1]), "within"),
    ],
)
def test_what_has_no_figure_is_refused(refused, match):
    with pytest.raises(InvalidInputError, match=match):
        refused()


def test_the_interval_of_a_difference_is_as_wide_as_both_together():
    first, second = (
        Estimate(value=0.9, low=0.87, high=0.95),
        Estimate(value=0.5, low=0.38, high=0.54),
    )
    found = difference_of(first, second)
    # 3-4-5 below and 5-12-13 above.
    assert (found.value, found.low, found.high) == pytest.approx((0.4, 0.35, 0.53))
    back = difference_of(second, first)
    assert (back.value, back.low, back.high) == pytest.approx((-0.4, -0.53, -0.35))
