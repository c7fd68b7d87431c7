import math

import pytest
import torch

from detector.decoupling import (
    ControllingModule,
    Frozen,
    GateNoise,
    Relaxed,
    SemHash,
    StraightThrough,
)
from detector.decoupling.gates import saturating_sigmoid

ALL = slice(0, 7)


def logits_with_gradient(images=6, gates=7):
    return (2 * torch.randn(images, gates)).requires_grad_()


def gradient_of(binariser, logits):
    """How much each gate's value follows its own logit."""
    (gradient,) = torch.autograd.grad(binariser(logits, ALL).sum(), logits)
    return gradient


def test_controlling_module_computes_its_formula():
    module = ControllingModule(8, 5)
    features = torch.randn(2, 8, 3, 4)
    pooled = features.sum(dim=(2, 3)) / 12
    hidden = (pooled @ module.squeeze.weight.T + module.squeeze.bias).clamp(min=0)
    expected = hidden @ module.excite.weight.T + module.excite.bias
    torch.testing.assert_close(module(features), expected)


def test_controlling_module_has_a_quarter_as_many_hidden_units_as_it_reads_channels():
    assert ControllingModule(16, 4).squeeze.out_features == 4
    assert ControllingModule(3, 4).squeeze.out_features == 1


def test_controlling_module_starts_with_biases_of_one():
    module = ControllingModule(8, 5)
    assert (module.squeeze.bias == 1).all()
    assert (module.excite.bias == 1).all()
    assert module.squeeze.weight.abs().min() > 0


def test_input_independent_start_gives_all_images_the_same_logits():
    module = ControllingModule(8, 5, input_independent_start=True)
    logits = module(torch.randn(4, 8, 3, 3))
    assert (logits == logits[0]).all()


def test_frozen_gates_are_binary_and_pass_no_gradient():
    logits = logits_with_gradient()
    values = Frozen()(logits, ALL)
    assert torch.equal(values, (logits > 0).float())
    assert not values.requires_grad


def test_a_gate_with_logit_zero_is_closed():
    assert Frozen()(torch.zeros(1, 1), slice(0, 1)).item() == 0


def test_straight_through_gates_are_binary():
    logits = logits_with_gradient()
    assert torch.equal(StraightThrough()(logits, ALL), (logits > 0).float())


def test_straight_through_passes_the_gradient_only_where_the_logit_is_at_most_the_bound():
    logits = torch.tensor([[-1.5, -1.0, -0.3, 0.0, 0.3, 1.0, 1.5]], requires_grad=True)
    assert gradient_of(StraightThrough(), logits).tolist() == [[0, 1, 1, 1, 1, 1, 0]]
    assert gradient_of(StraightThrough(bound=0.5), logits).tolist() == [[0, 0, 1, 1, 1, 0, 0]]


def test_relaxed_gates_are_a_sigmoid_of_the_tempered_logit_with_its_gradient():
    logits = logits_with_gradient()
    values = Relaxed(temperature=0.5)(logits, ALL)
    torch.testing.assert_close(values, torch.sigmoid(2 * logits))
    torch.testing.assert_close(
        gradient_of(Relaxed(temperature=0.5), logits), 2 * values * (1 - values)
    )


def test_relaxed_gates_become_hard_as_the_temperature_falls():
    logits = logits_with_gradient()
    torch.testing.assert_close(Relaxed(temperature=1e-4)(logits, ALL), Frozen()(logits, ALL))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature should be positive"):
        Relaxed(temperature=temperature)


def test_saturating_sigmoid_is_clipped_beyond_the_logarithm_of_eleven():
    edge = math.log(11)
    logits = torch.tensor([-9.0, -edge - 1e-3, 0.0, edge + 1e-3, 9.0])
    torch.testing.assert_close(saturating_sigmoid(logits), torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))
    inside = saturating_sigmoid(torch.tensor([-edge + 1e-2, edge - 1e-2]))
    assert 0 < inside[0] < inside[1] < 1


@pytest.mark.parametrize("images", [1, 2, 7, 128])
def test_half_of_the_images_are_hard(images):
    hard = GateNoise.draw(images, 3, generator=torch.Generator().manual_seed(1)).hard
    assert hard.shape == (images, 1)
    assert int(hard.sum()) == images // 2
    assert GateNoise.draw(images, 3, hard_share=1.0).hard.all()


def test_gate_noise_is_standard_normal_and_scales_with_its_strength():
    generator = torch.Generator().manual_seed(1)
    noise = GateNoise.draw(100, 100, generator=generator).noise
    # 10 000 draws: the mean has standard error .01, the deviation .0071; both within five of them.
    assert abs(float(noise.mean())) < 0.05
    assert abs(float(noise.std()) - 1) < 0.036
    assert not GateNoise.draw(4, 3, std=0.0).noise.any()


def test_gate_noise_is_the_same_from_the_same_seed():
    first, second = (
        GateNoise.draw(5, 4, generator=torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first.noise, second.noise)
    assert torch.equal(first.hard, second.hard)


def test_gate_noise_moves_to_a_device():
    assert GateNoise.draw(2, 3).to(torch.device("meta")).noise.is_meta


def test_semhash_makes_whole_images_hard_and_leaves_the_others_soft():
    logits = logits_with_gradient(images=8)
    noise = GateNoise.draw(8, 7)
    values = SemHash(noise)(logits, ALL).detach()
    noisy = (logits + noise.noise).detach()
    hard = noise.hard.squeeze(1)
    torch.testing.assert_close(values[hard], (noisy[hard] > 0).float())
    torch.testing.assert_close(values[~hard], saturating_sigmoid(noisy[~hard]))
    binary = ((values.abs() < 1e-6) | ((values - 1).abs() < 1e-6)).all(dim=1)
    assert torch.equal(binary, hard)


def test_semhash_gradient_goes_through_the_saturating_sigmoid_for_hard_and_soft_images():
    logits = logits_with_gradient(images=8)
    noise = GateNoise.draw(8, 7)
    noisy = (logits + noise.noise).detach()
    sigmoid = torch.sigmoid(noisy)
    expected = 1.2 * sigmoid * (1 - sigmoid) * (noisy.abs() < math.log(11))
    torch.testing.assert_close(gradient_of(SemHash(noise), logits), expected)
    assert (expected[noise.hard.squeeze(1)] > 0).any()


def test_semhash_reads_the_noise_of_its_own_layer():
    noise = GateNoise(noise=torch.tensor([[0.0, 9.0, -9.0]]), hard=torch.tensor([[True]]))
    values = SemHash(noise)(torch.zeros(1, 2), slice(1, 3))
    torch.testing.assert_close(values, torch.tensor([[1.0, 0.0]]))
