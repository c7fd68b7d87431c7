import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import nn

from detector.decoupling import (
    DecoupledNetwork,
    Frozen,
    GateNoise,
    Relaxed,
    StraightThrough,
)
from detector.decoupling.backbones import CifarResNet


def hooks(module):
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


def gate(value, features):
    """Multiply each channel by its gate."""
    return features * value[:, :, None, None]


def by_hand(network, images):
    """Class logits, bits, gate logits and pooled activations, written out for the tiny network."""
    backbone, controllers = network.backbone, iter(network.controllers)
    path = []

    def gated(source, output):
        logits = next(controllers)(source)
        bits = (logits > 0).float()
        path.append((bits, logits, gate(bits, output).mean(dim=(2, 3))))
        return gate(bits, output)

    features = torch.relu(backbone.bn1(backbone.conv1(images)))
    for block in (backbone.layer1[0], backbone.layer2[0], backbone.layer3[0]):
        inner = gated(features, torch.relu(block.bn1(block.conv1(features))))
        outer = gated(inner, block.bn2(block.conv2(inner)))
        features = torch.relu(outer + block.shortcut(features))
    logits = backbone.fc(features.mean(dim=(2, 3)))
    return logits, *(torch.cat(part, dim=1) for part in zip(*path, strict=True))


def by_hand_without_hooks(network, images):
    twin = copy.deepcopy(network)
    twin.detach_hooks()
    with torch.no_grad():
        return by_hand(twin, images)


def test_logits_and_path_equal_the_computation_by_hand(network, images):
    logits, bits, gate_logits, activations = by_hand_without_hooks(network, images)
    output = network(images)
    torch.testing.assert_close(output.class_logits.detach(), logits)
    path = output.path.cpu()
    assert torch.equal(path.bits, bits.bool())
    torch.testing.assert_close(path.logits, gate_logits)
    torch.testing.assert_close(path.activations, activations)
    assert 0 < path.bits.float().mean() < 1  # gates of both states were compared


def test_layout_names_each_gated_convolution_with_its_filters(network):
    assert network.layout.names == tuple(
        f"layer{stage}.0.conv{index}" for stage in (1, 2, 3) for index in (1, 2)
    )
    assert network.layout.sizes == (4, 4, 6, 6, 8, 8)


def test_closed_gates_have_no_activation(network, images):
    path = network(images).path
    assert not path.activations[~path.bits].any()
    assert path.activations[path.bits].any()


def test_with_all_gates_open_the_network_computes_what_its_backbone_does(network, images):
    for controller in network.controllers:
        nn.init.zeros_(controller.excite.weight)
        nn.init.ones_(controller.excite.bias)
    output = network(images)
    torch.testing.assert_close(output.class_logits, network.backbone(images))
    assert output.path.bits.all()


def test_evaluation_draws_no_noise_and_repeats_itself(network, images):
    before = torch.get_rng_state()
    first, second = network(images), network(images)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.class_logits, second.class_logits)
    assert torch.equal(first.path.logits, second.path.logits)


def test_evaluation_leaves_given_noise_aside(network, images):
    noise = GateNoise.draw(6, network.layout.gates)
    with_noise = network(images, noise)
    assert torch.equal(with_noise.class_logits, network(images).class_logits)


def test_the_path_of_an_image_does_not_depend_on_its_batch(network, images):
    together = network(images).path
    alone = network(images[2:3]).path
    assert torch.equal(alone.bits, together.bits[2:3])
    torch.testing.assert_close(alone.logits, together.logits[2:3])


def test_in_training_half_of_the_images_take_a_wholly_hard_path(network, images):
    noise = GateNoise.draw(6, network.layout.gates)
    values = torch.cat([record.values for record in network.train()(images, noise).records], dim=1)
    hard = ((values.abs() < 1e-6) | ((values - 1).abs() < 1e-6)).all(dim=1)
    assert torch.equal(hard, noise.hard.squeeze(1))
    assert int(hard.sum()) == 3


def test_training_with_the_same_noise_repeats_itself_and_with_other_noise_does_not(network, images):
    network.train()
    first, second = (GateNoise.draw(6, network.layout.gates) for _ in range(2))
    reference = network(images, first).class_logits
    assert torch.equal(network(images, first).class_logits, reference)
    assert not torch.equal(network(images, second).class_logits, reference)


def test_training_without_noise_draws_its_own(network, images):
    network.train()
    assert not torch.equal(network(images).class_logits, network(images).class_logits)


def test_pooled_output_is_taken_before_gating(network, images):
    record = network(images).records[0]
    assert (record.pooled[record.values == 0] != 0).any()
    assert (record.pooled >= 0).all()  # the first convolution of a block is rectified


def test_training_and_evaluation_share_the_first_layer_s_gate_logits(network, images):
    """Its input is not gated, and the tiny backbone's batch norms are kept in evaluation mode."""
    evaluated = network(images)
    network.training = True  # the gates train, the backbone does not
    trained = network(images)
    assert torch.equal(trained.records[0].logits, evaluated.records[0].logits)
    assert not torch.equal(trained.class_logits, evaluated.class_logits)


# ---- three ways for gradients to pass the gates


def image_gradient(network, images, through):
    images = images.clone().requires_grad_()
    with network.gradients(through):
        output = network(images)
    (gradient,) = torch.autograd.grad(output.class_logits.square().sum(), images)
    return output, gradient


def test_straight_through_and_frozen_gates_compute_the_same_but_pass_other_gradients(
    network, images
):
    frozen, frozen_gradient = image_gradient(network, images, Frozen())
    straight, straight_gradient = image_gradient(network, images, StraightThrough())
    assert torch.equal(frozen.class_logits, straight.class_logits)
    assert not torch.allclose(frozen_gradient, straight_gradient)


def test_relaxed_gates_change_the_computation_and_not_the_rule_for_bits(network, images):
    relaxed, gradient = image_gradient(network, images, Relaxed(temperature=0.3))
    assert not torch.allclose(relaxed.class_logits, network(images).class_logits)
    assert torch.equal(relaxed.path.bits, relaxed.path.logits > 0)
    assert gradient.abs().max() > 0


def test_frozen_is_the_default_way(network, images):
    images = images.clone().requires_grad_()
    (default,) = torch.autograd.grad(network(images).class_logits.square().sum(), images)
    assert torch.equal(default, image_gradient(network, images.detach(), Frozen())[1])


def test_no_gradient_reaches_the_controllers_through_frozen_gates(network, images):
    network(images).class_logits.sum().backward()
    assert all(parameter.grad is None for parameter in network.controllers.parameters())


def test_the_way_before_is_restored_after_the_block_and_after_an_exception(network, images):
    reference = network(images).class_logits
    with network.gradients(Relaxed()):
        with network.gradients(Frozen()):
            assert torch.equal(network(images).class_logits, reference)
        assert not torch.equal(network(images).class_logits, reference)
    assert torch.equal(network(images).class_logits, reference)
    with pytest.raises(KeyError), network.gradients(Relaxed()):
        raise KeyError
    assert torch.equal(network(images).class_logits, reference)


# ---- hooks


def test_the_backbone_used_directly_computes_its_plain_output(backbone, images):
    plain = backbone(images)
    network = DecoupledNetwork(backbone).eval()
    assert torch.equal(backbone(images), plain)
    assert not torch.equal(network(images).class_logits, plain)
    assert torch.equal(backbone(images), plain)


def test_hooks_go_with_the_network_and_the_backbone_computes_what_it_did(backbone, images):
    plain = backbone(images)
    network = DecoupledNetwork(backbone).eval()
    network(images)
    # Two a gated layer, and one on the classifier, whose product is computed in blocks.
    assert hooks(backbone) == 2 * network.layout.layers + 1
    gone = weakref.ref(network)
    del network
    gc.collect()
    assert gone() is None
    assert hooks(backbone) == 0
    assert torch.equal(backbone(images), plain)


def test_detached_hooks_are_gone_for_good(network, images):
    backbone = network.detach_hooks()
    assert backbone is network.backbone
    assert hooks(backbone) == 0
    network.detach_hooks()  # twice does no harm


class Failing(nn.Module):
    """Fails inside the backbone, when it is told to."""

    failing = False

    def forward(self, features):
        if self.failing:
            raise FloatingPointError
        return features


def test_an_exception_inside_the_forward_pass_leaves_nothing_behind(images):
    failing = Failing()
    backbone = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), failing, nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()
    network = DecoupledNetwork(backbone).eval()
    plain, reference = backbone(images), network(images).class_logits
    failing.failing = True
    with pytest.raises(FloatingPointError):
        network(images)
    failing.failing = False
    assert network._tape.records == []
    assert torch.equal(backbone(images), plain)
    assert torch.equal(network(images).class_logits, reference)


def test_an_exception_in_the_construction_leaves_no_hook(backbone, monkeypatch):
    register = nn.Module.register_forward_hook
    calls = []

    def failing(module, hook):
        calls.append(hook)
        if len(calls) == 4:
            raise MemoryError
        return register(module, hook)

    monkeypatch.setattr(nn.Module, "register_forward_hook", failing)
    with pytest.raises(MemoryError):
        DecoupledNetwork(backbone)
    assert len(calls) == 4
    assert hooks(backbone) == 0


def test_hooks_of_others_stay(backbone, images):
    calls = []
    backbone.layer1[0].conv1.register_forward_hook(lambda *_: calls.append(1))
    network = DecoupledNetwork(backbone).eval()
    network(images)
    twin = copy.deepcopy(network)
    del network, twin
    gc.collect()
    backbone(images)
    assert calls == [1, 1]


def test_two_networks_gate_one_backbone_without_meeting(backbone, images):
    first, second = DecoupledNetwork(backbone).eval(), DecoupledNetwork(backbone).eval()
    reference = first(images).class_logits
    second(images)
    assert torch.equal(first(images).class_logits, reference)
    del second
    gc.collect()
    assert torch.equal(first(images).class_logits, reference)


def test_the_tape_keeps_no_tensor_after_a_forward_pass(network, images):
    network(images)
    tape = network._tape
    assert (tape.binariser, tape.values, tape.logits, tape.records) == (None, [], [], [])


# ---- copies


def test_a_deep_copy_computes_the_same_with_weights_of_its_own(network, images):
    reference = network(images).class_logits
    twin = copy.deepcopy(network)
    assert torch.equal(twin(images).class_logits, reference)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(network(images).class_logits, reference)
    assert twin(images).class_logits.abs().sum() == 0


def test_a_deep_copy_has_as_many_hooks_as_the_original_and_outlives_it(backbone, images):
    network = DecoupledNetwork(backbone).eval()
    reference = network(images).class_logits
    twin = copy.deepcopy(network)
    assert hooks(twin.backbone) == hooks(network.backbone)
    del network
    gc.collect()
    assert torch.equal(twin(images).class_logits, reference)
    assert hooks(backbone) == 0


def test_a_deep_copy_keeps_modes_types_and_frozen_weights_and_draws_no_random_number(network):
    network.double().train()
    network.backbone.bn1.eval()
    network.controllers[0].requires_grad_(False)
    before = torch.get_rng_state()
    twin = copy.deepcopy(network)
    assert torch.equal(torch.get_rng_state(), before)
    assert [module.training for module in twin.modules()] == [
        module.training for module in network.modules()
    ]
    assert [(p.dtype, p.requires_grad) for p in twin.parameters()] == [
        (p.dtype, p.requires_grad) for p in network.parameters()
    ]
    assert list(twin.state_dict()) == list(network.state_dict())


def test_a_copy_made_inside_a_block_starts_with_the_default_way(network, images):
    reference = network(images).class_logits
    with network.gradients(Relaxed()):
        twin = copy.deepcopy(network)
    assert torch.equal(twin(images).class_logits, reference)


@pytest.mark.parametrize("training", [False, True])
def test_a_network_sent_to_another_process_gates_with_its_own_modules(network, images, training):
    network.train(training)
    sent = pickle.loads(pickle.dumps(network))
    assert sent.training is training
    assert not {*map(id, sent.modules())} & {*map(id, network.modules())}
    network.eval(), sent.eval()
    assert torch.equal(sent(images).path.bits, network(images).path.bits)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert not torch.equal(sent(images).class_logits, network(images).class_logits)


def test_state_dict_moves_between_networks_of_one_shape(network, images):
    other = DecoupledNetwork(CifarResNet(1, num_classes=5, widths=(4, 6, 8))).eval()
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(images).class_logits, network(images).class_logits)
