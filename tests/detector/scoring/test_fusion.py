"""How statistics become one score: Fisher's sum, or trees."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from detector.errors import CalibrationError
from detector.scoring import (
    LearntFusion,
    OneClassFusion,
    Surprisal,
    TreeArrays,
    TreeEnsemble,
    Witness,
)

NAMES = ("a", "b", "c", "d")


def clean(images: int = 400) -> Tensor:
    return torch.randn(images, 4, generator=torch.Generator().manual_seed(0))


def probe() -> Tensor:
    return 3 * torch.randn(30, 4, generator=torch.Generator().manual_seed(1))


def one_class(*witnesses: tuple[str, ...]) -> OneClassFusion:
    return OneClassFusion(
        NAMES,
        [
            Witness(name=f"witness {n}", statistics=each, meaning=f"it is strange {n}")
            for n, each in enumerate(witnesses)
        ],
    )


def stump() -> TreeEnsemble:
    """One split, on the last of four statistics."""
    return TreeEnsemble.of(
        [
            TreeArrays(
                feature=torch.tensor([3, 0, 0]),
                threshold=torch.tensor([0.5, 0.0, 0.0], dtype=torch.float64),
                left=torch.tensor([1, -1, -1]),
                right=torch.tensor([2, -1, -1]),
                value=torch.tensor([0.0, -1.0, 2.0], dtype=torch.float64),
            )
        ],
        offset=0.25,
    )


def test_two_witnesses_by_hand() -> None:
    """Of 1000 clean images the values of a and c are 0, 1, ..., 999; b and d are not heard."""
    ranks = torch.arange(1000.0)
    values = torch.stack([ranks, 0 * ranks, ranks.flip(0), 0 * ranks], dim=1)
    fusion = one_class(("a",), ("c",)).fit(values)
    found = fusion(torch.tensor([[500.0, 7.0, 900.0, 7.0], [0.0, 0.0, 0.0, 0.0]]))
    # A half of them reach 500 and a tenth 900: p-values .5 and .1.
    assert float(found[0]) == pytest.approx(-math.log(0.5) - math.log(0.1), abs=0.02)
    assert float(found[1]) == 0
    testimony = fusion.testimony(torch.tensor([[500.0, 7.0, 900.0, 7.0]]))
    assert testimony[0].tolist() == pytest.approx([math.log(2), math.log(10)], abs=0.02)


def test_a_witness_of_several_statistics_counts_as_one() -> None:
    """What they say together is ranked again: else two that agree would count twice."""
    fusion = one_class(("a", "b"), ("c",)).fit(clean())
    single = Surprisal(3).fit(clean()[:, :3])

    def together(values: Tensor) -> Tensor:
        each = single(values[:, :3])
        return torch.stack([each[:, 0] + each[:, 1], each[:, 2]], dim=1)

    again = Surprisal(2).fit(together(clean()))
    expected = again(together(probe()))
    torch.testing.assert_close(fusion.testimony(probe()), expected)
    torch.testing.assert_close(fusion(probe()), expected.sum(dim=1))


def test_saying_the_same_twice_adds_nothing() -> None:
    values, asked = (torch.cat([v[:, :1], v[:, :1], v[:, 2:]], dim=1) for v in (clean(), probe()))
    twice = one_class(("a", "b"), ("c",)).fit(values)
    once = one_class(("a",), ("c",)).fit(values)
    # The sum of two equal surprisals ranks images as one of them does.
    usual = asked[:, 0] < values[:, 0].sort().values[-10]
    torch.testing.assert_close(
        twice.testimony(asked)[usual], once.testimony(asked)[usual], atol=0.1, rtol=0
    )


def test_clean_images_score_as_the_sum_of_independent_surprisals() -> None:
    """Each surprisal is exponential with mean and variance 1: their sum has mean and variance 3."""
    fusion = one_class(("a",), ("b",), ("c",)).fit(clean(4000))
    fresh = torch.randn(4000, 4, generator=torch.Generator().manual_seed(2))
    found = fusion(fresh)
    # Standard error of the mean sqrt(3 / 4000), of the fit as much again; times five.
    assert float(found.mean()) == pytest.approx(3, abs=5 * math.sqrt(2 * 3 / 4000))


@pytest.mark.parametrize("place", range(4))
def test_a_statistic_that_is_not_finite_shows_also_where_it_is_not_heard(place) -> None:
    for fusion in (one_class(("a",), ("c",)).fit(clean()), LearntFusion(4, stump())):
        values = probe()
        expected = fusion(values)
        values[4, place] = torch.nan
        values[5, place] = torch.inf
        found = fusion(values)
        assert found[4:6].isnan().all()
        rest = [row for row in range(30) if row not in {4, 5}]
        assert torch.equal(found[rest], expected[rest])


def test_scores_are_single_precision_and_one_a_row() -> None:
    for fusion in (one_class(("a", "b", "c", "d")).fit(clean()), LearntFusion(4, stump())):
        found = fusion(probe())
        assert (found.dtype, found.shape) == (torch.float32, (30,))
        assert fusion(probe()[:0]).shape == (0,)


def test_the_learnt_score_is_that_of_its_trees() -> None:
    found = LearntFusion(4, stump())(probe())
    assert torch.equal(found, stump()(probe()).float())
    assert found.tolist() == [2.25 if value > 0.5 else -0.75 for value in probe()[:, 3].tolist()]


def test_an_attacker_finds_a_slope_in_every_witness() -> None:
    fusion = one_class(("a", "b"), ("c",)).fit(clean())
    values = probe().requires_grad_()
    fusion(values).sum().backward()
    assert bool(values.grad.isfinite().all())
    moved = (values.grad != 0).any(dim=0)
    assert moved.tolist() == [True, True, True, False]
    assert bool((values.grad >= 0).all())


def test_a_fitted_fusion_comes_back_from_its_state() -> None:
    fitted = one_class(("a", "b"), ("c",)).fit(clean())
    state = {name: tensor.clone() for name, tensor in fitted.state_dict().items()}
    restored = one_class(("a", "b"), ("c",))
    restored.load_state_dict(state)
    assert torch.equal(restored(probe()), fitted(probe()))
    assert set(state) == {
        f"{part}.{name}"
        for part in ("single", "together")
        for name in ("knots", "levels", "excess")
    }


@pytest.mark.parametrize("witnesses", [(), ((),), (("a",), ("strange", "b"))])
def test_witnesses_have_to_be_there_and_known(witnesses) -> None:
    found = "strange" if len(witnesses) == 2 else "none"
    with pytest.raises(ValueError, match=f"at least one statistic each.*Found {found}"):
        one_class(*witnesses)


def test_columns_have_to_be_as_many_as_statistics() -> None:
    fusion = one_class(("a",))
    for call in (fusion, fusion.fit, LearntFusion(4, stump())):
        for values in (torch.zeros(2, 5), torch.zeros(4)):
            with pytest.raises(ValueError, match=r"should have 4 columns\. Found the shape"):
                call(values)


def test_trees_that_read_more_than_there_is_are_refused() -> None:
    with pytest.raises(ValueError, match=r"read at most 3 statistics\. Found 4"):
        LearntFusion(3, stump())


def test_a_fit_without_usable_clean_images_is_refused() -> None:
    for values in (torch.zeros(0, 4), torch.full((5, 4), torch.nan)):
        with pytest.raises(CalibrationError, match="at least one clean image"):
            one_class(("a",)).fit(values)
