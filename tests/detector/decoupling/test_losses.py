import math
from dataclasses import replace

import pytest
import torch

from detector.decoupling import (
    DecouplingLoss,
    Distillation,
    GateRecord,
    GatesToOutput,
    LossWeights,
    OutputToGates,
)
from detector.decoupling.losses import sparsity

WEIGHTS = LossWeights(alignment=0.7, information=0.03, sparsity=0.2, open_share=0.6)


def record(images=4, gates=3):
    return GateRecord(
        logits=torch.randn(images, gates),
        values=torch.rand(images, gates).requires_grad_(),
        pooled=torch.randn(images, gates).requires_grad_(),
    )


def softmax(row):
    exponentials = [math.exp(value) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def divergence(true, model):
    """Mean over images and channels of p log(p / q), by hand."""
    terms = [
        p * math.log(p / q)
        for true_row, model_row in zip(true.tolist(), model.tolist(), strict=True)
        for p, q in zip(softmax(true_row), softmax(model_row), strict=True)
    ]
    return sum(terms) / len(terms)


def test_output_to_gates_is_the_divergence_of_the_output_from_the_gates():
    layer = record()
    expected = divergence(layer.pooled, layer.values)
    assert OutputToGates()(layer).item() == pytest.approx(expected, rel=1e-4)


def test_gates_to_output_is_the_divergence_the_other_way_round():
    layer = record()
    expected = divergence(layer.values, layer.pooled)
    assert GatesToOutput()(layer).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("alignment", [OutputToGates(), GatesToOutput()])
def test_alignment_vanishes_where_output_and_gates_agree_and_sends_gradient_to_both(alignment):
    layer = record()
    assert alignment(replace(layer, pooled=layer.values)).item() == pytest.approx(0, abs=1e-6)
    gradients = torch.autograd.grad(alignment(layer), (layer.values, layer.pooled))
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_sparsity_is_the_distance_of_the_mean_number_of_open_gates_from_the_target():
    values = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])  # 1.5 of 4 open
    layer = GateRecord(logits=values, values=values, pooled=values)
    assert sparsity(layer, 0.0).item() == pytest.approx(1.5)
    assert sparsity(layer, 0.6).item() == pytest.approx(0.6 * 4 - 1.5)
    assert sparsity(layer, 1.5 / 4).item() == pytest.approx(0)


def test_the_loss_is_the_weighted_sum_of_its_terms(network, images):
    loss = DecouplingLoss(network.layout, 5, weights=WEIGHTS, alignment=OutputToGates())
    output, targets = network.train()(images), torch.arange(6) % 5
    terms = loss(output, targets)
    expected = [
        torch.nn.functional.cross_entropy(output.class_logits, targets),
        sum(OutputToGates()(layer) for layer in output.records),
        sum(
            torch.nn.functional.cross_entropy(layer.values @ head.weight.T, targets)
            for layer, head in zip(output.records, loss.heads, strict=True)
        ),
        sum(sparsity(layer, 0.6) for layer in output.records),
    ]
    found = [terms.classification, terms.alignment, terms.information, terms.sparsity]
    torch.testing.assert_close(found, [value.detach() for value in expected])
    total = expected[0] + 0.7 * expected[1] + 0.03 * expected[2] + 0.2 * expected[3]
    torch.testing.assert_close(terms.total, total)


def test_distillation_mixes_labels_with_the_softened_teacher():
    torch.manual_seed(0)
    learnt, taught, targets = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    soft = [[value / 2 for value in row] for row in taught.tolist()]
    own = [[value / 2 for value in row] for row in learnt.tolist()]
    divergence = sum(
        p * math.log(p / q)
        for true, model in zip(soft, own, strict=True)
        for p, q in zip(softmax(true), softmax(model), strict=True)
    )
    labelled = torch.nn.functional.cross_entropy(learnt, targets).item()
    expected = 0.25 * labelled + 0.75 * 4 * divergence / 4
    found = Distillation(weight=0.75, temperature=2.0)(learnt, taught, targets)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_the_classification_term_hears_the_teacher_where_there_is_one(network, images):
    distillation = Distillation(weight=1.0, temperature=3.0)
    loss = DecouplingLoss(
        network.layout,
        5,
        weights=WEIGHTS,
        alignment=OutputToGates(),
        distillation=distillation,
    )
    output, targets = network.eval()(images), torch.arange(6) % 5
    agreed = loss(output, targets, output.class_logits.detach())
    assert agreed.classification.item() == pytest.approx(0, abs=1e-6)
    alone = loss(output, targets)
    expected = torch.nn.functional.cross_entropy(output.class_logits, targets)
    torch.testing.assert_close(alone.classification, expected.detach())


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"weight": 0.0, "temperature": 1.0}, "weight"),
        ({"weight": 1.5, "temperature": 1.0}, "weight"),
        ({"weight": 0.5, "temperature": 0.0}, "temperature"),
    ],
)
def test_a_distillation_outside_of_its_range_is_refused(fields, named):
    with pytest.raises(ValueError, match=f"{named} should"):
        Distillation(**fields)


def test_only_the_total_carries_a_gradient_and_it_reaches_every_parameter(network, images):
    loss = DecouplingLoss(network.layout, 5, weights=WEIGHTS, alignment=GatesToOutput())
    terms = loss(network.train()(images), torch.zeros(6, dtype=torch.int64))
    parts = (terms.classification, terms.alignment, terms.information, terms.sparsity)
    assert not any(part.requires_grad for part in parts)
    terms.total.backward()
    parameters = [*network.parameters(), *loss.parameters()]
    assert all(parameter.grad is not None for parameter in parameters)


def test_heads_have_no_bias_so_that_the_bound_is_about_the_gates_alone(network):
    loss = DecouplingLoss(network.layout, 5, weights=WEIGHTS, alignment=OutputToGates())
    assert all(head.bias is None for head in loss.heads)
    assert [tuple(head.weight.shape) for head in loss.heads] == [
        (5, size) for size in network.layout.sizes
    ]


def test_the_information_term_of_gates_that_tell_nothing_is_the_entropy_of_the_classes(network):
    loss = DecouplingLoss(network.layout, 5, weights=WEIGHTS, alignment=OutputToGates())
    with torch.no_grad():
        for controller in network.controllers:  # every gate closed
            controller.excite.weight.zero_()
            controller.excite.bias.fill_(-1)
        terms = loss(network(torch.randn(10, 3, 8, 8)), torch.arange(10) % 5)
    per_layer = terms.information.item() / network.layout.layers
    assert per_layer == pytest.approx(math.log(5), rel=1e-5)
