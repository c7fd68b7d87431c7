"""What an attacker sees is what the detector sees, with gradients."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from detector.attacks.adaptive import Guides, judge, observe, thresholds, through_copy
from detector.conformal import ConformalTable, Guarantee, Promise
from detector.copies import parse_copy
from detector.decoupling import Frozen, Relaxed, StraightThrough
from detector.errors import AttackError, InvalidInputError

COPIES = (
    "flip",
    "shift:left",
    "shift:right",
    "shift:up",
    "shift:down",
    "scale:0.75",
    "scale:1",
    "median:3",
    "bits:5",
    "jpeg:75",
)


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_exactly_the_detectors_and_passes_all_of_the_gradient(name, images) -> None:
    copy = parse_copy(name)
    pixels = (images.float() / 255).requires_grad_()
    copied = through_copy(copy, pixels)
    assert torch.equal(copied, copy(images).float() / 255)
    (gradient,) = torch.autograd.grad(copied.sum(), pixels)
    # The weights of each copied pixel add up to one, whatever it is made of.
    torch.testing.assert_close(gradient.sum(dim=(2, 3)), torch.full((len(images), 3), 64.0))


@pytest.mark.parametrize(
    ("name", "source"), [("flip", (3, 7)), ("shift:left", (3, 1)), ("shift:down", (2, 0))]
)
def test_the_gradient_goes_back_where_the_pixel_came_from(name, source, images) -> None:
    pixels = (images[:1].float() / 255).requires_grad_()
    copied = through_copy(parse_copy(name), pixels)
    (gradient,) = torch.autograd.grad(copied[0, 0, 3, 0], pixels)
    assert gradient[0, 0][source] == 1
    assert gradient.abs().sum() == 1


@pytest.mark.parametrize("way", [StraightThrough(), Frozen()])
def test_through_hard_gates_the_values_are_the_detectors_own(way, shared, images) -> None:
    target = dataclasses.replace(shared, copies=COPIES)
    seen = observe(target, images.float() / 255, way)
    with torch.no_grad():
        alone = target.network(target.preprocessing(images))
        median = target.network(target.preprocessing(parse_copy("median:3")(images)))
    torch.testing.assert_close(seen.class_logits, alone.class_logits)
    torch.testing.assert_close(seen.path.activations, alone.path.activations)
    assert torch.equal(seen.path.bits > 0.5, alone.path.bits)
    torch.testing.assert_close(seen.copies["median:3"].class_logits, median.class_logits)
    assert tuple(seen.copies) == COPIES


def test_through_relaxed_gates_bits_are_soft_and_lead_back_to_the_pixels(shared, images) -> None:
    pixels = (images.float() / 255).requires_grad_()
    path = observe(shared, pixels, Relaxed(3.0)).path
    torch.testing.assert_close(path.bits, torch.sigmoid(path.logits / 3.0))
    (gradient,) = torch.autograd.grad(path.bits.sum(), pixels)
    assert (gradient.flatten(1).norm(dim=1) > 0).all()


def test_images_and_copies_go_through_the_network_at_once(target, images) -> None:
    sizes = []
    target.network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    observe(target, images.float() / 255, Frozen())
    assert sizes == [2 * len(images)]


def test_pixels_are_rounded_as_a_file_would_round_them(shared, images) -> None:
    exact = observe(shared, images.float() / 255, Frozen()).class_logits
    between = (images.float() / 255 + 0.4 / 255).clamp(0, 1)
    assert torch.equal(observe(shared, between, Frozen()).class_logits, exact)


def test_a_judge_sees_bits_that_are_true_or_false_and_no_gradient(shared, images) -> None:
    kinds = []

    def score(seen):
        kinds.extend([seen.path.bits.dtype, seen.copies["flip"].path.bits.dtype])
        return seen.class_logits[:, 0]

    found = judge(dataclasses.replace(shared, score=score), images)
    assert kinds == [torch.bool, torch.bool]
    assert not found.scores.requires_grad


def test_thresholds_are_the_largest_scores_that_are_not_flagged() -> None:
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(300, generator=generator) * torch.logspace(-20, 20, 300)
    table = ConformalTable(
        scores, torch.arange(300) % 3, 4, promise=Promise(guarantee=Guarantee.PLAIN)
    )
    largest = thresholds(table.flags, 0.05, 4)
    classes = torch.arange(3)
    above = torch.nextafter(largest[:3], torch.tensor(torch.inf))
    assert not table.flags(largest[:3], classes, 0.05).any()
    assert table.flags(above, classes, 0.05).all()
    assert largest[3] == torch.inf  # no calibration image: nothing is flagged


def test_copies_that_do_not_exist_are_refused(shared) -> None:
    with pytest.raises(InvalidInputError, match="A copy should be one of"):
        dataclasses.replace(shared, copies=("mirror",))


def test_guides_are_right_and_not_flagged_and_the_nearest_come_first(
    shared, images, labels
) -> None:
    wrong = labels.clone()
    wrong[0] = (labels[0] + 1) % 4
    guides = Guides.of(shared, images, wrong)
    usable = ~shared.flags(judge(shared, images).scores, labels, 0.05)
    usable[0] = False
    assert len(guides.labels) == int(usable.sum())
    bits = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]]).bool()
    bank = Guides(bits=bits, labels=torch.tensor([2, 2, 1]))
    nearest = bank.nearest(bits[2:], torch.tensor([2]), 3)
    assert torch.equal(nearest[:, 0], bits[[1, 0, 1]])
    with pytest.raises(AttackError, match="none of class 3"):
        bank.nearest(bits[2:], torch.tensor([3]), 1)
