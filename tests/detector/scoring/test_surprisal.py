"""The surprisal of a value against ranks, and where ranks say nothing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from detector.errors import CalibrationError
from detector.scoring import Surprisal

BEYOND = 10
"""Clean images behind the last knot, where there are a hundred of them or more."""
STEPS = 64
"""Steps between the knots."""


def by_rank(clean: Tensor, values: Tensor) -> Tensor:
    """-log of the share of clean images that reach each value; infinite where none does."""
    reached = (clean.to(values.dtype)[None] >= values[:, None]).sum(dim=1)
    return -(reached / len(clean)).log()


def tolerance(images: int) -> float:
    """How far interpolation and ranks can be apart up to the last knot.

    Between two knots both lie between the surprisals of these, which are a step apart; and a knot
    stands at the nearest rank, half an image off, which is most behind the last knot but one.
    """
    return math.log(images / BEYOND) / STEPS + math.log(BEYOND / (BEYOND - 0.5)) + 1e-4


@pytest.mark.parametrize("images", [100, 150, 1000, 4999])
def test_within_the_data_it_is_the_surprisal_of_the_rank(images) -> None:
    clean = torch.randn(images, generator=torch.Generator().manual_seed(images))
    surprisal = Surprisal(1).fit(clean[:, None])
    last = clean.sort().values[images - BEYOND]
    generator = torch.Generator().manual_seed(1)
    values = torch.cat([clean, torch.randn(500, generator=generator)])
    values = values[values <= last]
    found = surprisal(values[:, None])[:, 0]
    assert float((found - by_rank(clean, values)).abs().max()) < tolerance(images)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(100, 400))
def test_values_that_many_images_share_have_the_surprisal_of_reaching_them(seed, images) -> None:
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randint(-3, 4, (images,), generator=generator).float()
    surprisal = Surprisal(1).fit(clean[:, None])
    last = clean.sort().values[images - BEYOND]
    values = torch.arange(-4.0, float(last) + 1)
    found = surprisal(values[:, None])[:, 0]
    assert float((found - by_rank(clean, values)).abs().max()) < tolerance(images)


def test_a_share_of_yes_and_no_has_the_surprisal_of_the_share() -> None:
    clean = (torch.arange(1000) < 30).float()[:, None]
    found = Surprisal(1).fit(clean)(torch.tensor([[0.0], [1.0]]))[:, 0]
    assert float(found[0]) == 0
    assert float(found[1]) == pytest.approx(-math.log(0.03), abs=tolerance(1000))


def test_behind_the_data_it_grows_as_the_logarithm_of_the_excess() -> None:
    clean = torch.linspace(0, 1, 1001)[:, None]
    surprisal = Surprisal(1).fit(clean)
    quantile = 0.991  # the tenth image from the end, of 1001
    excess = 0.0045  # mean of 0, .001, ..., .009
    for away in (0.01, 1.0, 100.0, 1e6):
        found = float(surprisal(torch.tensor([[quantile + away]]))[0, 0])
        expected = math.log(1001 / 10) + math.log1p(away / excess)
        assert found == pytest.approx(expected, rel=1e-3)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 300), st.booleans())
def test_it_never_falls_and_is_never_negative(seed, images, coarse) -> None:
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randn(images, 2, generator=generator)
    if coarse:
        clean = clean.round()
    surprisal = Surprisal(2).fit(clean)
    values = torch.cat([clean, 3 * torch.randn(200, 2, generator=generator)]).sort(dim=0).values
    found = surprisal(values)
    assert bool(found.isfinite().all())
    assert float(found.min()) >= 0
    assert float(found.diff(dim=0).min()) >= -1e-4


def test_each_statistic_is_held_against_its_own_images() -> None:
    clean = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    clean = clean * torch.tensor([1.0, 10.0, 1e-3])
    together = Surprisal(3).fit(clean)(clean)
    alone = [Surprisal(1).fit(clean[:, [place]])(clean[:, [place]]) for place in range(3)]
    torch.testing.assert_close(together, torch.cat(alone, dim=1))


def test_a_value_that_is_not_a_number_stays_one() -> None:
    surprisal = Surprisal(2).fit(torch.randn(50, 2, generator=torch.Generator().manual_seed(0)))
    found = surprisal(torch.tensor([[torch.nan, 0.0], [0.0, torch.nan], [-torch.inf, torch.inf]]))
    assert found.isnan().tolist() == [[True, False], [False, True], [False, False]]
    assert found[2].tolist() == [0, math.inf]


def test_a_single_image_is_enough_to_rank_and_one_more_to_measure() -> None:
    for clean in ([[1.0]], [[1.0], [3.0]]):
        found = Surprisal(1).fit(torch.tensor(clean))(torch.tensor([[0.0], [1.0], [9.0]]))[:, 0]
        assert bool(found.isfinite().all())
        assert float(found[0]) == 0
        assert float(found[2]) > float(found[1])


def test_a_statistic_that_never_varied_makes_any_other_value_surprising() -> None:
    surprisal = Surprisal(1).fit(torch.full((500, 1), 2.0))
    found = surprisal(torch.tensor([[1.0], [2.0], [2.1]]))[:, 0]
    assert found[:2].tolist() == [0, 0]
    assert float(found[2]) > math.log(50)
    assert bool(found.isfinite().all())


def test_an_attacker_finds_a_slope_within_and_behind_the_data() -> None:
    clean = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    values = torch.tensor([[0.0], [2.0], [50.0]], requires_grad=True)
    Surprisal(1).fit(clean)(values).sum().backward()
    assert bool((values.grad > 0).all())
    assert bool(values.grad.isfinite().all())


def test_the_state_is_of_one_size_and_restores_the_same_surprisals() -> None:
    first, second = (
        Surprisal(2).fit(torch.randn(count, 2, generator=torch.Generator().manual_seed(count)))
        for count in (40, 900)
    )
    values = torch.randn(20, 2, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(first(values), second(values))
    first.load_state_dict(second.state_dict())
    assert torch.equal(first(values), second(values))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_clean_images_have_to_be_there_and_finite(bad) -> None:
    with pytest.raises(CalibrationError, match=r"at least one clean image.*Found 0 images"):
        Surprisal(2).fit(torch.zeros(0, 2))
    clean = torch.zeros(5, 2)
    clean[3, 1] = bad
    with pytest.raises(CalibrationError, match="Found 5 images, 1 of them not finite"):
        Surprisal(2).fit(clean)


def test_columns_have_to_be_as_many_as_statistics() -> None:
    for call in (Surprisal(2).fit, Surprisal(2)):
        for values in (torch.zeros(4, 3), torch.zeros(4)):
            with pytest.raises(ValueError, match=r"should have 2 columns\. Found the shape"):
                call(values)
