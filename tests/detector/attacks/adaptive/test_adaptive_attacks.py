"""What every attacker who knows the detector keeps and reaches."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from detector.attacks import Pgd, attack_images
from detector.attacks.adaptive import (
    AdaptiveAttack,
    GradientFree,
    GuideMatching,
    Guides,
    JointPgd,
    OrthogonalPgd,
    SelectivePgd,
)
from detector.decoupling import Frozen, Relaxed, StraightThrough
from detector.errors import AttackError, InvalidInputError

EPSILON = 16 / 255
WAYS = (StraightThrough(),)
NAMES = ("selective", "orthogonal", "joint", "guides", "gradient-free")


def attack_of(name: str, bits, labels, *, epsilon: float = EPSILON) -> AdaptiveAttack:
    """Guides of every class: paths do not matter to a detector of confidence."""
    match name:
        case "selective":
            return SelectivePgd(epsilon=epsilon, steps=8, ways=WAYS)
        case "orthogonal":
            return OrthogonalPgd(epsilon=epsilon, steps=8, ways=WAYS)
        case "joint":
            return JointPgd(epsilon=epsilon, steps=8, ways=(Relaxed(1.0),), weights=(1.0,))
        case "guides":
            guides = Guides(bits=bits, labels=labels)
            return GuideMatching(
                epsilon=epsilon, steps=8, ways=WAYS, guides=guides, nearest=1, weights=(0.1,)
            )
        case _:
            return GradientFree(epsilon=epsilon, queries=80)


@pytest.fixture(scope="module")
def guides(shared):
    generator = torch.Generator().manual_seed(3)
    gates = shared.network.layout.gates
    return torch.rand(8, gates, generator=generator) > 0.5, torch.arange(8) % 4


@pytest.fixture(scope="module")
def found(request, shared, images, labels, guides):
    return attack_of(request.param, *guides)(shared, images, labels, seed=1)


every_attack = pytest.mark.parametrize("found", NAMES, indirect=True)


def served(target, images):
    """Class and score as the service computes them, by other means than the attacks'."""
    with torch.no_grad():
        logits = [
            target.network(target.preprocessing(each)).class_logits
            for each in (images, images.flip(3))
        ]
    top = [each.topk(2, dim=1).values for each in logits]
    return logits[0].argmax(dim=1), sum(each[:, 0] - each[:, 1] for each in top)


@every_attack
def test_an_attacker_who_knows_the_detector_evades_it_more_often(
    found, shared, images, labels
) -> None:
    plain = attack_images(
        shared.network, shared.preprocessing, images, labels, Pgd(epsilon=EPSILON, steps=8)
    )
    predicted, scores = served(shared, plain.images)
    blind = (predicted != labels) & ~shared.flags(scores, predicted, 0.05)
    assert int(found.evaded_at(0.05).sum()) > int(blind.sum())


@every_attack
def test_the_images_are_what_the_service_would_say_of_them(found, shared, images, labels) -> None:
    for place, budget in enumerate(found.budgets):
        predicted, scores = served(shared, found.images[place])
        assert torch.equal(found.prediction[place], predicted)
        torch.testing.assert_close(found.scores[place], scores, rtol=1e-4, atol=1e-5)
        assert torch.equal(
            found.flagged[place], shared.flags(found.scores[place], predicted, budget)
        )
    assert torch.equal(found.original_prediction, labels)


@every_attack
def test_the_images_are_of_8_bits_and_stay_in_the_ball(found, images) -> None:
    assert found.images.dtype == torch.uint8
    change = (found.images.int() - images.int()).abs()
    assert int(change.max()) <= 16


@every_attack
def test_what_was_never_fooled_is_as_it_was(found, images) -> None:
    kept = ~found.fooled
    assert torch.equal(found.images[0][kept], images[kept])


@pytest.mark.parametrize("name", NAMES)
def test_without_a_ball_nothing_changes_and_nothing_succeeds(
    name, shared, images, labels, guides
) -> None:
    attack = attack_of(name, *guides, epsilon=0.0)
    short = {"queries": 2} if isinstance(attack, GradientFree) else {"steps": 1}
    result = dataclasses.replace(attack, **short)(shared, images, labels)
    assert torch.equal(result.images, images.expand_as(result.images))
    assert not result.evaded.any()


def test_a_ball_between_two_8_bit_steps_is_kept(shared, images, labels) -> None:
    attack = SelectivePgd(epsilon=0.01, steps=2, restarts=2, ways=WAYS)
    result = attack(shared, images, labels)
    assert int((result.images.int() - images.int()).abs().max()) <= 2  # 2.55 steps of 1/255


def test_the_same_seed_gives_the_same_and_leaves_the_global_generator(
    shared, images, labels
) -> None:
    attack = GradientFree(epsilon=EPSILON, queries=5)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = attack(shared, images, labels, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.images, attack(shared, images, labels, seed=3).images)


def test_images_that_were_wrong_before_are_left_alone(shared, images, labels) -> None:
    wrong = (labels + 1) % 4
    result = SelectivePgd(epsilon=EPSILON, steps=2, ways=WAYS)(shared, images, wrong)
    assert torch.equal(result.images, images.expand_as(result.images))
    assert not result.evaded.any()


class _Failing(nn.Module):
    """A score that gives up in the middle of a search."""

    def __init__(self, score) -> None:
        super().__init__()
        self.score = score
        self.weight = nn.Parameter(torch.ones(()))
        self.calls = 0

    def forward(self, seen):
        self.calls += 1
        if self.calls > 3:
            raise RuntimeError("broken")
        assert not any(module.training for module in self.modules())
        return self.score(seen) * self.weight


def test_all_is_restored_after_an_exception(target, images, labels) -> None:
    score = _Failing(target.score).train()
    broken = dataclasses.replace(target, score=score)
    network = target.network
    network.backbone.bn1.train()
    before = [module.training for module in network.modules()]
    with pytest.raises(RuntimeError, match="broken"):
        SelectivePgd(epsilon=EPSILON, ways=(Relaxed(1.0),))(broken, images, labels)
    assert [module.training for module in network.modules()] == before
    assert isinstance(network._evaluation, Frozen)
    assert score.training
    assert score.weight.grad is None
    assert all(w.requires_grad and w.grad is None for w in (*network.parameters(), score.weight))


@pytest.mark.parametrize("name", ["selective", "orthogonal", "joint"])
def test_a_score_that_is_no_number_is_no_evasion_and_hides_no_class(
    name, target, images, labels, guides
) -> None:
    blind = dataclasses.replace(target, score=lambda seen: seen.class_logits[:, 0] * torch.nan)
    attack = dataclasses.replace(attack_of(name, *guides), steps=4, ways=WAYS)
    result = attack(blind, images, labels)
    assert result.fooled.any()
    assert not result.evaded.any()


def test_a_surrogate_leads_where_the_score_itself_has_no_gradient(target, images, labels) -> None:
    steps = dataclasses.replace(target, score=lambda seen: target.score(seen).detach())
    led = dataclasses.replace(steps, surrogate=target.score)
    attack = SelectivePgd(epsilon=EPSILON, steps=8, ways=WAYS)
    assert attack(led, images, labels).evaded_at(0.05).any()


class _OutOfBall(AdaptiveAttack):
    def _search(self, chase, generator, on_progress) -> None:
        rows = torch.arange(len(chase.labels))
        white = torch.full_like(chase.originals, 255)
        found = dataclasses.replace(chase.clean, scores=torch.zeros(len(rows)))
        found.class_logits[rows, chase.labels] = -torch.inf
        chase.offer(rows, white, found)


def test_an_attack_that_leaves_its_ball_is_caught(target, images, labels) -> None:
    with pytest.raises(AttackError, match="_OutOfBall should stay within LinfBall"):
        _OutOfBall(epsilon=EPSILON)(target, images, labels)


def test_each_search_is_told(shared, images, labels) -> None:
    told = []
    attack = SelectivePgd(epsilon=0.0, steps=1, restarts=2, targets=9, ways=WAYS)
    attack(shared, images, labels, on_progress=lambda done, of: told.append((done, of)))
    # Two starts, each for any wrong class and for the three there are.
    assert told == [(done, 8) for done in range(1, 9)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SelectivePgd(epsilon=8), "epsilon should lie in"),
        (lambda: SelectivePgd(epsilon=0.1, steps=0), "steps should be at least 1"),
        (lambda: SelectivePgd(epsilon=0.1, budgets=(5.0,)), "budgets should be at least one share"),
        (lambda: SelectivePgd(epsilon=0.1, ways=()), "at least one way"),
        (lambda: SelectivePgd(epsilon=0.1, relative_step=0.0), "relative_step should be positive"),
        (lambda: JointPgd(epsilon=0.1, weights=(0.0,)), "weights should be positive"),
        (lambda: GradientFree(epsilon=0.1, queries=0), "queries should be at least 1"),
    ],
)
def test_options_out_of_range_are_refused(make, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()


def test_images_of_another_kind_are_refused(shared, images, labels) -> None:
    attack = SelectivePgd(epsilon=EPSILON)
    with pytest.raises(InvalidInputError, match="should be uint8"):
        attack(shared, images / 255, labels)
    with pytest.raises(InvalidInputError, match="Labels should be int64"):
        attack(shared, images, labels[:2])
    with pytest.raises(InvalidInputError, match=r"Labels should lie in 0\.\.3"):
        attack(shared, images, labels + 4)
