"""What every attack keeps, whatever it computes."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
import torchattacks

from detector.attacks import (
    ApgdCe,
    ApgdT,
    Attack,
    AttackedModel,
    AttackName,
    Bim,
    Corrupted,
    CwL2,
    Ddn,
    DeepFool,
    Fab,
    Fgsm,
    GaussianNoise,
    Mim,
    Pgd,
    SignNoise,
    Spatial,
    Square,
    Unbounded,
    UniformNoise,
    attack_class,
)
from detector.attacks.result import margins
from detector.corruptions import CorruptionName, Fog, GlassBlur, JpegCompression, corruption_class
from detector.decoupling import StraightThrough
from detector.errors import InvalidInputError

EPSILON = 8 / 255

BOUNDED = [
    Fgsm(epsilon=EPSILON),
    Bim(epsilon=EPSILON, steps=3),
    Pgd(epsilon=EPSILON, steps=3),
    Pgd(epsilon=EPSILON, steps=2, restarts=2),
    Pgd(epsilon=0.01, steps=3),
    Mim(epsilon=EPSILON, steps=3),
    ApgdCe(epsilon=EPSILON, steps=5),
    ApgdT(epsilon=2 * EPSILON, steps=5, targets=2),
    Fab(epsilon=2 * EPSILON, steps=3, targets=1),
    Square(epsilon=2 * EPSILON, queries=40),
    GaussianNoise(epsilon=EPSILON),
    UniformNoise(epsilon=EPSILON),
    SignNoise(epsilon=EPSILON),
]
UNBOUNDED = [
    CwL2(steps=8),
    CwL2(confidence=0.5, steps=8),
    DeepFool(steps=3),
    Ddn(steps=6),
    Spatial(tries=4),
    Corrupted(corruption=Fog(severity=3)),
    Corrupted(corruption=GlassBlur(severity=1)),
    Corrupted(corruption=JpegCompression(severity=5)),
]
ALL = [*BOUNDED, *UNBOUNDED]

every_attack = pytest.mark.parametrize("attack", ALL, ids=repr)
every_bounded_attack = pytest.mark.parametrize("attack", BOUNDED, ids=repr)


def model_of(target) -> AttackedModel:
    return AttackedModel(target.network, target.preprocessing, StraightThrough())


def modes_of(model) -> list[bool]:
    return [module.training for module in model.modules()]


def test_every_named_attack_is_in_the_table() -> None:
    assert {type(attack) for attack in ALL} == {
        attack_class(name) for name in (*AttackName, *CorruptionName)
    }


@every_attack
def test_images_stay_in_range_exactly_and_keep_shape_and_type(attack, target) -> None:
    attacked = attack(model_of(target), target.images, target.labels)
    assert attacked.shape == target.images.shape
    assert attacked.dtype == torch.float32
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert not attacked.requires_grad


@every_bounded_attack
def test_images_stay_within_the_ball_before_and_after_rounding(attack, target) -> None:
    attacked = attack(model_of(target), target.images, target.labels)
    assert attack.ball.excess(attacked, target.images) <= 1e-7
    rounded = target.preprocessing.scale(attack.ball.round(attacked, target.pixels))
    slack = 0.5 / 255 if isinstance(attack, GaussianNoise) else 1e-7
    assert attack.ball.excess(rounded, target.images) <= slack


@every_attack
def test_images_change_but_the_input_does_not(attack, target) -> None:
    images = target.images
    before = images.clone()
    attacked = attack(model_of(target), images, target.labels)
    assert torch.equal(images, before)
    if not isinstance(attack, (CwL2, Fab)):  # a few steps need not suffice for them
        assert not torch.equal(attacked, images)


@every_bounded_attack
@pytest.mark.parametrize("training", [False, True])
def test_epsilon_zero_is_the_identity_in_either_mode(attack, training, target) -> None:
    model = model_of(target).train(training)
    attacked = dataclasses.replace(attack, epsilon=0.0)(model, target.images, target.labels)
    assert torch.equal(attacked, target.images)


@every_attack
def test_each_modules_mode_is_what_it_was(attack, target) -> None:
    model = model_of(target)
    model.network.train()
    model.network.backbone.bn1.eval()
    before = modes_of(model)
    attack(model, target.images, target.labels)
    assert modes_of(model) == before


@every_attack
def test_the_network_is_left_without_a_trace(attack, target) -> None:
    model = model_of(target).train()
    before = copy.deepcopy(model.state_dict())
    attack(model, target.images, target.labels)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())


@every_attack
def test_the_model_computes_in_evaluation_mode(attack, target) -> None:
    model = model_of(target).train()
    seen: list[bool] = []
    model.register_forward_pre_hook(
        lambda module, _: seen.append(any(part.training for part in module.modules()))
    )
    attack(model, target.images, target.labels)
    assert not any(seen)
    assert bool(seen) != attack.is_benign


@pytest.mark.parametrize(
    "attack", [attack for attack in ALL if not attack.follows_gradient], ids=repr
)
def test_what_follows_no_gradient_does_the_same_where_none_passes(attack, target) -> None:
    model = model_of(target)
    attacked = attack(_Masked(model), target.images, target.labels)
    assert torch.equal(attacked, attack(model, target.images, target.labels))


@every_attack
def test_the_same_seed_gives_the_same_images_and_leaves_the_global_generator(
    attack, target
) -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = attack(model_of(target), target.images, target.labels, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(6)
    second = attack(model_of(target), target.images, target.labels, seed=3)
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    "attack",
    [
        Pgd(epsilon=EPSILON),
        ApgdCe(epsilon=EPSILON),
        ApgdT(epsilon=2 * EPSILON),
        Square(epsilon=2 * EPSILON, queries=100),
        Spatial(),
        UniformNoise(epsilon=EPSILON),
        Corrupted(corruption=Fog(severity=1)),
    ],
    ids=repr,
)
def test_another_seed_gives_other_images(attack, target) -> None:
    first = attack(model_of(target), target.images, target.labels, seed=1)
    assert not torch.equal(first, attack(model_of(target), target.images, target.labels, seed=2))


@every_attack
def test_an_attack_works_where_gradients_are_switched_off(attack, target) -> None:
    with torch.inference_mode():
        attacked = attack(model_of(target), target.images, target.labels)
    assert torch.equal(attacked, attack(model_of(target), target.images, target.labels))


@every_attack
def test_one_image_alone_can_be_attacked(attack, target) -> None:
    attacked = attack(model_of(target), target.images[:1], target.labels[:1])
    assert attacked.shape == (1, 3, 8, 8)


@pytest.mark.parametrize("attack", UNBOUNDED, ids=repr)
def test_attacks_without_an_epsilon_are_unbounded(attack) -> None:
    assert isinstance(attack.ball, Unbounded)


@pytest.mark.parametrize("name", CorruptionName)
def test_a_corruption_gives_the_8_bit_images_that_it_gives_alone(name, target) -> None:
    corruption = corruption_class(name)(severity=4)
    attacked = Corrupted(corruption=corruption)(model_of(target), target.images, target.labels)
    rounded = Unbounded().round(attacked, target.pixels)
    assert torch.equal(target.preprocessing.scale(rounded), attacked)
    torch.manual_seed(0)
    seed = int(torch.randint(2**31, ()))
    assert torch.equal(rounded, corruption(target.pixels, seed=seed))


def test_gaussian_noise_has_the_norm_of_sign_noise(target) -> None:
    images = torch.full((4, 3, 8, 8), 0.5)
    labels = torch.zeros(4, dtype=torch.int64)
    norms = [
        (noise(model_of(target), images, labels) - images).flatten(1).norm(dim=1)
        for noise in (GaussianNoise(epsilon=0.03), SignNoise(epsilon=0.03))
    ]
    torch.testing.assert_close(norms[0], norms[1], rtol=1e-4, atol=0)


def test_confidence_asks_carlini_and_wagner_for_that_margin(target) -> None:
    """torchattacks alone ignores it: it keeps the smallest change of any margin."""
    confidence, model = 0.2, model_of(target)
    attack = CwL2(confidence=confidence, trade_off=50.0, steps=60)
    attacked = attack(model, target.images, target.labels)
    with torch.no_grad():
        logits = model(attacked)
    true = logits.gather(1, target.labels[:, None])[:, 0]
    margin = logits.scatter(1, target.labels[:, None], -torch.inf).amax(dim=1) - true
    changed = (attacked != target.images).flatten(1).any(dim=1)
    assert changed.any()
    assert (margin[changed] >= confidence - 1e-4).all()


@pytest.mark.parametrize("confidence", [0, 10, 20, 40])
def test_each_confidence_of_the_papers_is_reached_by_a_network_of_their_scale(
    confidence, sharp_target
) -> None:
    target = sharp_target
    model = model_of(target)
    attack = CwL2(confidence=confidence, steps=60)
    attacked = attack(model, target.images, target.labels)
    changed = (attacked != target.images).flatten(1).any(dim=1)
    with torch.no_grad():
        reached = margins(model(attacked), target.labels)
    assert changed.sum() >= 3
    assert (reached[changed] >= confidence - 1e-3).all()


class _Masked(torch.nn.Module):
    """The same classifier, whose logits pass no gradient."""

    def __init__(self, model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(images).detach()


class _Shifted(torch.nn.Module):
    """The same classifier: a shift of all class logits changes no prediction."""

    def __init__(self, model, shift: float) -> None:
        super().__init__()
        self.model, self.shift = model, shift

    def forward(self, images):
        return self.model(images) + self.shift


@pytest.mark.parametrize("attack", [CwL2(steps=20, trade_off=10.0), DeepFool(steps=3)], ids=repr)
def test_a_shift_of_all_logits_changes_nothing(attack, target) -> None:
    """torchattacks alone loses the margin where all logits are negative."""
    expected = attack(model_of(target), target.images, target.labels)
    shifted = attack(_Shifted(model_of(target), -64.0), target.images, target.labels)
    torch.testing.assert_close(shifted, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    "attack",
    [
        DeepFool(steps=3),
        Mim(epsilon=EPSILON, steps=3),
        Fab(epsilon=EPSILON, steps=3),
        ApgdT(epsilon=EPSILON, steps=3),
        Ddn(steps=5),
    ],
    ids=repr,
)
def test_images_that_no_gradient_reaches_come_back_as_they_were(attack, target) -> None:
    """torchattacks alone divides by zero and gives NaN."""
    model = model_of(target)
    torch.nn.init.zeros_(model.network.backbone.fc.weight)
    labels = torch.full_like(target.labels, int(model.network.backbone.fc.bias.argmax()))
    attacked = attack(model, target.images, labels)
    assert torch.equal(attacked, target.images)


def test_restarts_never_lower_the_loss(target) -> None:
    model = model_of(target)
    losses = []
    for restarts in (1, 4):
        attack = Pgd(epsilon=EPSILON, steps=2, restarts=restarts)
        attacked = attack(model, target.images, target.labels, seed=7)
        with torch.no_grad():
            logits = model(attacked)
        losses.append(torch.nn.functional.cross_entropy(logits, target.labels, reduction="none"))
    assert (losses[1] >= losses[0] - 1e-6).all()


@pytest.mark.parametrize(
    ("images", "labels", "field"),
    [
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), "images"),
        (torch.zeros(2, 3, 8), torch.zeros(2, dtype=torch.int64), "images"),
        (torch.zeros(0, 3, 8, 8), torch.zeros(0, dtype=torch.int64), "images"),
        (torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64), "images"),
        (torch.full((2, 3, 8, 8), 1.5), torch.zeros(2, dtype=torch.int64), "images"),
        (torch.full((2, 3, 8, 8), -0.1), torch.zeros(2, dtype=torch.int64), "images"),
        (torch.full((2, 3, 8, 8), torch.nan), torch.zeros(2, dtype=torch.int64), "images"),
        (torch.zeros(2, 3, 8, 8), torch.zeros(3, dtype=torch.int64), "labels"),
        (torch.zeros(2, 3, 8, 8), torch.zeros(2), "labels"),
    ],
)
def test_input_of_another_kind_is_refused(images, labels, field, target) -> None:
    with pytest.raises(InvalidInputError, match=r"should .* Found") as caught:
        Fgsm(epsilon=EPSILON)(model_of(target), images, labels)
    assert caught.value.field == field


@pytest.mark.parametrize("epsilon", [-0.1, 8.0, float("nan"), float("inf")])
@pytest.mark.parametrize("attack_type", [Fgsm, Pgd, SignNoise])
def test_an_epsilon_outside_of_pixel_scale_is_refused(attack_type, epsilon) -> None:
    with pytest.raises(InvalidInputError, match="epsilon should lie in"):
        attack_type(epsilon=epsilon)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Pgd(epsilon=EPSILON, steps=0),
        lambda: Pgd(epsilon=EPSILON, restarts=0),
        lambda: ApgdCe(epsilon=EPSILON, steps=-1),
        lambda: CwL2(confidence=-1),
        lambda: CwL2(trade_off=0),
        lambda: CwL2(learning_rate=0),
        lambda: DeepFool(steps=0),
        lambda: DeepFool(overshoot=float("nan")),
        lambda: ApgdT(epsilon=EPSILON, targets=0),
        lambda: Fab(epsilon=EPSILON, steps=0),
        lambda: Square(epsilon=EPSILON, queries=0),
        lambda: Ddn(steps=0),
        lambda: Spatial(tries=0),
    ],
)
def test_an_option_out_of_range_is_refused(make) -> None:
    with pytest.raises(InvalidInputError, match="should be at least"):
        make()


def test_an_exception_inside_torchattacks_restores_the_model(target, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(torchattacks.PGD, "forward", fail)
    model = model_of(target).train()
    before = modes_of(model)
    with pytest.raises(RuntimeError, match="out of memory"):
        Pgd(epsilon=EPSILON)(model, target.images, target.labels)
    assert modes_of(model) == before
    assert all(weight.requires_grad for weight in model.parameters())


def test_attacks_are_values() -> None:
    assert Pgd(epsilon=EPSILON) == Pgd(epsilon=EPSILON)
    assert issubclass(Pgd, Attack)
