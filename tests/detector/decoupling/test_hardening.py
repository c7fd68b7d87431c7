import math
from dataclasses import replace

import pytest
import torch

from detector.copies import Shift
from detector.copies.moves import Direction
from detector.decoupling import (
    Adversaries,
    CopyConsistency,
    DecoupledOutput,
    GateMargin,
    GateRecord,
    Hardening,
)
from detector.decoupling.hardening import shifted_by_one_pixel
from detector.paths import PathLayout

LAYOUT = PathLayout(names=("first", "second"), sizes=(2, 1))


def output(first, second, class_logits=((0.0, 0.0),)):
    """One image a row, of two layers with these gate logits."""
    records = tuple(
        GateRecord(logits=logits, values=logits, pooled=logits)
        for logits in (torch.tensor(first), torch.tensor(second))
    )
    return DecoupledOutput(class_logits=torch.tensor(class_logits), records=records, layout=LAYOUT)


def test_the_gate_margin_is_the_mean_of_what_each_gate_lacks_of_it():
    found = GateMargin(weight=1.0, margin=0.5)(output([[0.1, -0.3]], [[2.0]]), None)
    assert found.item() == pytest.approx((0.4 + 0.2 + 0.0) / 3)


def test_the_gate_margin_pushes_a_gate_the_way_it_leans_and_leaves_a_sure_one_alone():
    logits = torch.tensor([[0.1, -0.1, 0.6]], requires_grad=True)
    record = GateRecord(logits=logits, values=logits, pooled=logits)
    layer = replace(output([[0.0, 0.0]], [[0.0]]), records=(record,))
    (gradient,) = torch.autograd.grad(GateMargin(weight=1.0)(layer, None), logits)
    torch.testing.assert_close(gradient, torch.tensor([[-1 / 3, 1 / 3, 0.0]]))


def test_copy_consistency_is_the_divergence_both_ways_and_the_distance_of_the_gates():
    one = output([[0.2, -1.0]], [[3.0]], [[1.0, 0.0]])
    other = output([[0.4, -1.0]], [[1.0]], [[0.0, 0.5]])
    p, q = (1 / (1 + math.exp(-logit)) for logit in (1.0, -0.5))
    both_ways = sum(a * math.log(a / b) + b * math.log(b / a) for a, b in ((p, q), (1 - p, 1 - q)))
    gates = [
        (1 / (1 + math.exp(-a)) - 1 / (1 + math.exp(-b))) ** 2
        for a, b in ((0.2, 0.4), (-1.0, -1.0), (3.0, 1.0))
    ]
    found = CopyConsistency(weight=1.0, gates=0.7)(one, other)
    assert found.item() == pytest.approx(both_ways + 0.7 * sum(gates) / 3, rel=1e-5)


def test_copy_consistency_vanishes_for_copies_that_change_nothing():
    same = output([[0.2, -1.0]], [[3.0]], [[1.0, 0.0]])
    assert CopyConsistency(weight=1.0)(same, same).item() == 0


def test_copy_consistency_without_copies_is_a_mistake():
    with pytest.raises(TypeError, match="copies should be"):
        CopyConsistency(weight=1.0)(output([[0.0, 0.0]], [[0.0]]), None)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_each_quarter_of_a_batch_moves_another_way_as_the_copies_of_the_service_do(count):
    images = torch.randint(256, (count, 3, 5, 7), dtype=torch.uint8)
    moved = shifted_by_one_pixel(images.float()).to(torch.uint8)
    quarters = zip(images.chunk(4), moved.chunk(4), Direction, strict=False)
    for before, after, direction in quarters:
        assert torch.equal(after, Shift(direction=direction)(before))
    assert moved.shape == images.shape


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [
        (Adversaries, {"epsilon": 0}, "epsilon should lie in"),
        (Adversaries, {"epsilon": 8}, "epsilon should lie in"),
        (Adversaries, {"share": 0}, "share should lie in"),
        (Adversaries, {"steps": 0}, "steps should be at least 1"),
        (Adversaries, {"relative_step": 0}, "relative_step should be positive"),
        (GateMargin, {"weight": -1}, "weight should not be negative"),
        (GateMargin, {"weight": math.nan}, "weight should not be negative"),
        (GateMargin, {"weight": 1, "margin": 0}, "margin should be positive"),
        (CopyConsistency, {"weight": -1}, "weight should not be negative"),
        (CopyConsistency, {"weight": 1, "gates": -1}, "gates should not be negative"),
        (Hardening, {}, "at least one part"),
    ],
)
def test_what_cannot_be_is_refused(part, fields, message):
    with pytest.raises(ValueError, match=message):
        part(**fields)
