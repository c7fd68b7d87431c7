"""The false-alarm promise: ranks, p-values, refusals, and that it is kept."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from detector.conformal import (
    ConformalTable,
    Guarantee,
    Promise,
    minimum_images,
    pac_rank,
    plain_rank,
)
from detector.errors import CalibrationError, InvalidInputError

PLAIN = Promise(guarantee=Guarantee.PLAIN)
PAC = Promise()


@pytest.mark.parametrize(
    ("alpha", "n", "plain", "pac"),
    [
        (0.05, 500, 25, 17),
        (0.05, 1000, 50, 39),
        (0.01, 500, 5, 2),
        (0.01, 1000, 10, 5),
        (0.001, 10_000, 10, 5),
    ],
)
def test_ranks_are_those_of_the_published_table(alpha, n, plain, pac):
    assert plain_rank(n, alpha) == plain
    assert pac_rank(n, alpha) == pac


@pytest.mark.parametrize(
    ("alpha", "plain", "pac"), [(0.05, 19, 59), (0.01, 99, 299), (0.001, 999, 2995)]
)
def test_the_least_numbers_of_images_are_those_of_the_published_table(alpha, plain, pac):
    assert PLAIN.minimum_images(alpha) == plain
    assert minimum_images(alpha) == pac
    for promise, needed in ((PLAIN, plain), (PAC, pac)):
        assert promise.rank(needed, alpha) == 1
        assert promise.rank(needed - 1, alpha) == 0


@given(
    n=st.integers(0, 3000),
    alpha=st.floats(0.0005, 0.6),
    confidence=st.sampled_from([0.5, 0.9, 0.95, 0.999]),
)
def test_the_pac_rank_is_the_largest_that_keeps_the_budget(n, alpha, confidence):
    rank = pac_rank(n, alpha, confidence)
    if rank:
        assert beta.cdf(alpha, rank, n + 1 - rank) >= confidence - 1e-7
    if rank < n:
        assert beta.cdf(alpha, rank + 1, n - rank) <= confidence + 1e-7


def test_large_calibrations_have_a_rank_near_the_plain_one():
    assert 49_500 < pac_rank(1_000_000, 0.05) < plain_rank(1_000_000, 0.05)


@given(n=st.integers(1, 5000))
@pytest.mark.parametrize("promise", [PLAIN, PAC], ids=["plain", "pac"])
def test_the_smallest_alpha_is_just_enough(promise, n):
    smallest = promise.smallest_alpha(n)
    assert promise.rank(n, smallest) == 1
    assert promise.rank(n, smallest * 0.999) == 0
    assert promise.minimum_images(smallest) <= n


def test_without_images_nothing_can_be_promised():
    assert PAC.smallest_alpha(0) == 1.0
    assert PAC.rank(0, 0.5) == PLAIN.rank(0, 0.4) == 0


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 2.0, math.nan, math.inf])
def test_budgets_out_of_range_are_refused(alpha):
    for rank in (plain_rank, pac_rank):
        with pytest.raises(InvalidInputError, match="alpha should lie between 0 and 1"):
            rank(100, alpha)
    with pytest.raises(InvalidInputError, match="alpha should lie"):
        minimum_images(alpha)


@pytest.mark.parametrize("confidence", [0.0, 1.0, math.nan])
def test_confidences_out_of_range_are_refused(confidence):
    with pytest.raises(InvalidInputError, match="confidence should lie"):
        Promise(confidence=confidence)


@pytest.fixture
def table():
    """Three classes: scores 1..4, a tie of 7s, and none."""
    scores = torch.tensor([3.0, 1.0, 4.0, 2.0, 7.0, 7.0, 7.0])
    predicted = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    return ConformalTable(scores, predicted, 3, promise=PLAIN)


def test_p_values_count_the_class_of_the_image_alone(table):
    scores = torch.tensor([0.0, 2.5, 4.0, 5.0, 5.0, 5.0])
    predicted = torch.tensor([0, 0, 0, 0, 1, 2])
    expected = [5 / 5, 3 / 5, 2 / 5, 1 / 5, 4 / 4, 1 / 1]
    assert table.p_values(scores, predicted).tolist() == pytest.approx(expected)


def test_ties_count_against_flagging(table):
    scores, predicted = torch.tensor([7.0, 7.1]), torch.tensor([1, 1])
    assert table.p_values(scores, predicted).tolist() == [1.0, 0.25]
    assert table.flags(scores, predicted, 0.3).tolist() == [False, True]


def test_a_class_that_cannot_promise_the_budget_flags_nothing(table):
    scores, predicted = torch.tensor([99.0, 99.0, 99.0]), torch.tensor([0, 1, 2])
    assert table.flags(scores, predicted, 0.2).tolist() == [True, False, False]
    assert table.threshold(2, 0.2) == 0
    assert table.counts.tolist() == [4, 3, 0]
    assert table.smallest_alpha(0) == 1 / 5


def test_a_score_that_is_not_finite_has_no_p_value_and_is_not_flagged(table):
    scores, predicted = torch.tensor([math.nan, math.inf]), torch.tensor([0, 0])
    assert table.p_values(scores, predicted).isnan().tolist() == [True, True]
    assert table.flags(scores, predicted, 0.5).tolist() == [False, False]


def test_flags_and_p_values_agree_at_every_threshold():
    generator = torch.Generator().manual_seed(0)
    scores, predicted = torch.randn(400, generator=generator), torch.arange(400) % 2
    table = ConformalTable(scores, predicted, 2, promise=PAC)
    for alpha in (0.05, 0.1, 0.3):
        p_values = table.p_values(scores, predicted)
        below = [
            p <= table.threshold(label, alpha)
            for p, label in zip(p_values.tolist(), predicted.tolist(), strict=True)
        ]
        assert table.flags(scores, predicted, alpha).tolist() == below


def test_calibration_scores_have_to_be_finite():
    with pytest.raises(CalibrationError, match="Found 1 of 2"):
        ConformalTable(torch.tensor([0.0, math.nan]), torch.tensor([0, 1]), 2, promise=PAC)


def test_a_refusal_names_the_class_the_count_and_the_count_needed():
    predicted = torch.repeat_interleave(torch.arange(3), torch.tensor([80, 58, 0]))
    table = ConformalTable(torch.zeros(138), predicted, 3, promise=PAC)
    with pytest.raises(CalibrationError) as caught:
        table.require(0.05, ("cat", "dog", "frog"))
    message = str(caught.value)
    assert "at least 59" in message
    assert "58 predicted as dog, 0 predicted as frog" in message
    assert "cat" not in message
    assert message.endswith("Extract more calibration images.")  # nothing promises a class without


def test_a_refusal_names_the_budget_that_all_classes_can_promise():
    predicted = torch.repeat_interleave(torch.arange(2), torch.tensor([80, 40]))
    table = ConformalTable(torch.zeros(120), predicted, 2, promise=PAC)
    with pytest.raises(CalibrationError, match=r"a larger budget: 0\.073 can be promised"):
        table.require(0.05, ("cat", "dog"))
    table.require(0.073, ("cat", "dog"))


def calibrated_rates(promise: Promise, alpha: float, *, n: int, draws: int) -> torch.Tensor:
    """True false-alarm rate of many calibrations on uniform scores: the chance above the k-th."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(draws, n, generator=generator).sort(dim=1, descending=True).values
    rank = promise.rank(n, alpha)
    # What the table flags lies above its k-th largest score.
    table = ConformalTable(scores[0], torch.zeros(n, dtype=torch.int64), 1, promise=promise)
    edge = scores[0, rank - 1]
    probe = torch.stack([edge, torch.nextafter(edge, torch.tensor(2.0))])
    flagged = table.flags(probe, torch.zeros(2, dtype=torch.int64), alpha)
    assert flagged.tolist() == [False, True]
    return 1 - scores[:, rank - 1]


def test_the_plain_promise_holds_on_average():
    rates = calibrated_rates(PLAIN, 0.05, n=199, draws=4000)
    # The rate is Beta(10, 190): mean alpha exactly, tolerance four standard errors.
    tolerance = 4 * beta.std(10, 190) / math.sqrt(4000)
    assert float(rates.mean()) == pytest.approx(0.05, abs=tolerance)


def test_the_pac_promise_holds_for_nearly_every_calibration():
    rates = calibrated_rates(PAC, 0.05, n=500, draws=4000)
    kept = float((rates <= 0.05).float().mean())
    # The share of calibrations that keep it is binomial: at least .95, less four standard errors.
    assert kept >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / 4000)
    assert float(rates.mean()) == pytest.approx(17 / 501, abs=0.001)


@pytest.mark.parametrize(
    ("scores", "predicted"),
    [
        (torch.zeros(4), torch.tensor([0, 1, 2])),
        (torch.zeros(3), torch.tensor([0, 1, 3])),
        (torch.zeros(3), torch.tensor([0, 1, -1])),
        (torch.zeros(3, 1), torch.tensor([[0], [1], [2]])),
    ],
)
def test_each_calibration_score_has_to_be_of_a_known_class(scores, predicted):
    with pytest.raises(ValueError, match="one of 3 predicted classes for each score"):
        ConformalTable(scores, predicted, 3, promise=PLAIN)
