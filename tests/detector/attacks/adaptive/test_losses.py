"""What adaptive attackers bring down, against values by hand, and how they combine gradients."""

from __future__ import annotations

import pytest
import torch

from detector.attacks.adaptive import (
    SoftForest,
    class_hinge,
    excess,
    guide_distance,
    orthogonal_to,
)
from detector.paths import PathLayout
from detector.scoring import TreeArrays, TreeEnsemble


def test_the_hinge_is_negative_exactly_where_the_class_is_reached() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [1.0, 3.0, 0.0]])
    labels = torch.tensor([0, 0])
    assert class_hinge(logits, labels).tolist() == [1.0, -2.0]
    goals = torch.tensor([1, 2])
    assert class_hinge(logits, labels, goals, kappa=0.5).tolist() == [1.5, 3.5]


def test_an_excess_is_measured_from_the_threshold_of_the_predicted_class() -> None:
    scores = torch.tensor([1.0, 1.0, torch.nan])
    found = excess(scores, torch.tensor([0, 1, 1]), torch.tensor([0.5, 3.0]))
    assert found.tolist() == [0.5, -2.0, torch.inf]


def test_the_guide_distance_counts_layers_alike_and_gates_that_match_not_at_all() -> None:
    layout = PathLayout(names=("a", "b"), sizes=(1, 2))
    logits = torch.tensor([[-1.0, 2.0, -3.0]], requires_grad=True)
    guides = torch.tensor([[1.0, 1.0, 1.0]])
    distance = guide_distance(logits, guides, layout)
    assert distance.item() == 1.0 / 1 + 3.0 / 2
    (gradient,) = torch.autograd.grad(distance.sum(), logits)
    assert gradient.tolist() == [[-1.0, 0.0, -0.5]]
    assert guide_distance(logits, guides, layout, kappa=3.0).item() == 4.0 + (1.0 + 6.0) / 2


@pytest.mark.parametrize("size", [1.0, 1e-20])
def test_a_projected_gradient_is_orthogonal_to_the_other_and_still_goes_uphill(size) -> None:
    generator = torch.Generator().manual_seed(0)
    wanted, other = torch.randn(2, 4, 3, 8, 8, generator=generator) * torch.tensor(size)
    other = other + wanted
    step = orthogonal_to(wanted, other).double()
    along = (step * other.double()).sum(dim=(1, 2, 3))
    norms = step.flatten(1).norm(dim=1) * other.double().flatten(1).norm(dim=1)
    assert (along.abs() <= 1e-5 * norms).all()
    assert ((step * wanted.double()).sum(dim=(1, 2, 3)) > 0).all()


def test_nothing_is_taken_away_where_the_other_gradient_is_zero() -> None:
    wanted = torch.ones(1, 3, 2, 2)
    assert torch.equal(orthogonal_to(wanted, torch.zeros_like(wanted)), wanted)


@pytest.fixture
def forest() -> TreeEnsemble:
    """An uneven tree that splits three times, twice on one feature, and a stump on a bit."""
    uneven = TreeArrays(
        feature=torch.tensor([0, 1, 0, 0, 0, 0, 0]),
        threshold=torch.tensor([0.3, -0.2, 1.1, 0, 0, 0, 0], dtype=torch.float64),
        left=torch.tensor([1, 3, 5, -1, -1, -1, -1]),
        right=torch.tensor([2, 4, 6, -1, -1, -1, -1]),
        value=torch.tensor([0, 0, 0, 1.0, -2.0, 4.0, -8.0], dtype=torch.float64),
    )
    stump = TreeArrays(
        feature=torch.tensor([2, 0, 0]),
        threshold=torch.tensor([0.5, 0, 0], dtype=torch.float64),
        left=torch.tensor([1, -1, -1]),
        right=torch.tensor([2, -1, -1]),
        value=torch.tensor([0, 16.0, -32.0], dtype=torch.float64),
    )
    return TreeEnsemble.of([uneven, stump], offset=0.25)


@pytest.fixture
def rows() -> torch.Tensor:
    values = torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    values[:, 2] = (values[:, 2] > 0).float()
    return values


def test_a_soft_forest_becomes_the_hard_one_as_it_sharpens(forest, rows) -> None:
    hard = forest(rows)
    errors = [float((SoftForest(forest, t)(rows) - hard).abs().mean()) for t in (1, 0.1, 0.01)]
    assert errors[0] > errors[1] > errors[2]
    torch.testing.assert_close(SoftForest(forest, 1e-6)(rows), hard)


def test_a_very_soft_forest_takes_every_branch_alike(forest, rows) -> None:
    leaves = (1.0 - 2.0 + 4.0 - 8.0) / 4 + (16.0 - 32.0) / 2 + 0.25
    soft = SoftForest(forest, 1e9)(rows)
    torch.testing.assert_close(soft, torch.full((200,), leaves, dtype=torch.float64))


def test_the_gradient_of_a_soft_forest_is_that_of_finite_differences(forest, rows) -> None:
    values = rows[:20].double().requires_grad_()
    assert torch.autograd.gradcheck(SoftForest(forest, 0.7), (values,))


def test_splits_without_softness_are_refused(forest) -> None:
    with pytest.raises(ValueError, match="temperature should be positive"):
        SoftForest(forest, 0.0)
