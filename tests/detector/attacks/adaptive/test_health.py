"""Curves, intervals, and checks that catch attacks that are broken."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from scipy.stats import binomtest

from detector.attacks.adaptive import (
    CurvePoint,
    EvasionCurve,
    SelectivePgd,
    Share,
    black_box_trails,
    large_epsilon_suffices,
    measure_curve,
    rejection_is_believable,
    steps_suffice,
    success_never_falls,
)
from detector.attacks.adaptive.shares import chance_of_lead
from detector.decoupling import StraightThrough
from detector.errors import InvalidInputError

IMAGES = 40


def first(count: int) -> torch.Tensor:
    """The first images, of 40."""
    return torch.arange(IMAGES) < count


def point(epsilon: float, evaded: int, *, false_alarms: int = 0) -> CurvePoint:
    return CurvePoint(
        epsilon=epsilon,
        budgets=(0.05,),
        evaded=first(evaded)[None],
        fooled=first(evaded),
        false_alarms=(~first(IMAGES - false_alarms))[None],
    )


def curve(*counts: int) -> EvasionCurve:
    return EvasionCurve(points=tuple(point((i + 1) / 10, c) for i, c in enumerate(counts)))


@pytest.mark.parametrize(("hits", "total"), [(0, 20), (20, 20), (7, 50), (499, 500)])
def test_intervals_are_those_of_clopper_and_pearson(hits, total) -> None:
    expected = binomtest(hits, total).proportion_ci(0.95, method="exact")
    assert Share(hits=hits, total=total).interval() == pytest.approx(
        (expected.low, expected.high), abs=1e-9
    )


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (3, 3), (9, 1), (0, 4)])
def test_a_lead_is_judged_by_the_sign_test(wins, losses) -> None:
    leader = torch.tensor([True] * wins + [False] * losses + [True] * 5)
    other = torch.tensor([False] * wins + [True] * losses + [True] * 5)
    differ = wins + losses
    expected = binomtest(wins, differ, alternative="greater").pvalue if differ else 1.0
    assert chance_of_lead(leader, other) == pytest.approx(expected)


def test_the_epsilon_of_half_success_lies_between_the_points_around_it() -> None:
    assert curve(10, 30).epsilon_of_success(0.05) == pytest.approx(0.15)
    assert curve(40, 40).epsilon_of_success(0.05) == pytest.approx(0.05)
    assert curve(1, 19).epsilon_of_success(0.05) is None


def test_a_curve_is_written_as_json() -> None:
    written = json.loads(json.dumps(curve(10, 30).to_json()))
    assert written["points"][0]["SR@5"]["rate"] == 0.25
    assert written["epsilon_of_half"] == {"SR@5": pytest.approx(0.15)}


@pytest.mark.parametrize("epsilons", [(), (0.1, 0.1), (0.2, 0.1)])
def test_epsilons_that_do_not_rise_are_refused(epsilons) -> None:
    with pytest.raises(InvalidInputError, match="epsilons should rise"):
        EvasionCurve(points=tuple(point(epsilon, 1) for epsilon in epsilons))


class _Lazy(SelectivePgd):
    """Sabotage: it stays where it is, whatever epsilon allows."""

    def _search(self, chase, generator, on_progress) -> None:
        chase.offer(torch.arange(len(chase.labels)), chase.originals, chase.clean)


def test_an_attack_that_ignores_epsilon_is_found_out_and_an_honest_one_is_not(
    shared, images, labels
) -> None:
    images, labels = images.repeat(2, 1, 1, 1), labels.repeat(2)
    honest = SelectivePgd(epsilon=0.0, steps=5, ways=(StraightThrough(),))
    lazy = _Lazy(epsilon=0.0)
    told = []
    measured = [
        measure_curve(
            shared,
            images,
            labels,
            attacks,
            (1 / 255, 0.5),
            batch_size=6,
            on_progress=lambda done, of: told.append((done, of)),
        )
        for attacks in ([lazy], [lazy, honest])
    ]
    sabotaged, sound = (large_epsilon_suffices(each, 0.05, at_least=0.5) for each in measured)
    assert not sabotaged.passed
    assert sabotaged.found == 0
    assert sound.passed
    assert success_never_falls(measured[1], 0.05).passed
    assert told[:4] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_success_that_falls_is_found_out_and_noise_is_not() -> None:
    fallen = success_never_falls(curve(5, 30, 20), 0.05)
    assert not fallen.passed
    assert fallen.difference == pytest.approx(-0.25)
    assert success_never_falls(curve(5, 30, 28, 35), 0.05).passed
    with pytest.raises(InvalidInputError, match="at least two points"):
        success_never_falls(curve(5), 0.05)


def test_a_curve_that_ends_early_says_nothing_about_large_epsilons() -> None:
    with pytest.raises(InvalidInputError, match=r"at least 0\.5"):
        large_epsilon_suffices(curve(5, 40), 0.05)


def test_steps_that_were_too_few_are_found_out_with_what_more_would_add() -> None:
    short = steps_suffice(first(10), first(20))
    assert not short.passed
    assert short.difference == pytest.approx(0.25)
    assert steps_suffice(first(20), first(22)).passed


def test_gradients_that_lead_worse_than_search_are_found_out() -> None:
    assert not black_box_trails(first(10), first(20)).passed
    assert black_box_trails(first(20), first(10)).passed


def test_a_detector_that_claims_more_than_a_classifier_could_is_not_believed() -> None:
    claim = point(16 / 255, 8, false_alarms=2)  # robust on 30 of 40
    unbelievable = rejection_is_believable(claim, first(30), 0.05)
    assert not unbelievable.passed
    assert (unbelievable.found, unbelievable.reference) == (0.75, 0.25)
    assert rejection_is_believable(claim, first(10), 0.05).passed
    assert json.dumps(unbelievable.to_json())


def test_attacks_with_other_budgets_do_not_make_one_curve(shared, images, labels) -> None:
    attack = SelectivePgd(epsilon=0.0)
    other = dataclasses.replace(attack, budgets=(0.1,))
    for attacks in ([], [attack, other]):
        with pytest.raises(InvalidInputError, match="all with the same budgets"):
            measure_curve(shared, images, labels, attacks, (0.1,))


def test_a_network_that_is_never_right_has_no_curve(shared, images, labels) -> None:
    with pytest.raises(InvalidInputError, match="at least one image right"):
        measure_curve(shared, images, (labels + 1) % 4, [_Lazy(epsilon=0.0)], (0.1,))
