"""What every score keeps. A new score is one more row of CASES."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from detector import scoring
from detector.errors import CalibrationError
from detector.paths import PathLayout
from detector.scoring import (
    ActivationDistance,
    BernoulliScore,
    CleanImages,
    Confidence,
    Disagreement,
    GateLogitDistance,
    HammingNeighbours,
    Observation,
    PathStatistics,
    Score,
    Stability,
)

# Sizes that repeat side by side and apart, as in real networks.
LAYOUT = PathLayout(names=("one", "two", "three", "four"), sizes=(6, 6, 4, 6))
CLASSES = 3
COPIES = ("flip", "shift:left")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One score.

    Args:
        build: Makes it, from a layout and a number of classes.
        reads: What it reads, beside the predicted class: a gradient flows to all of it.
        other_class: Its number that is higher for paths of another class than the predicted one,
            where that is what it is about.
    """

    build: Callable[[PathLayout, int], Score]
    reads: tuple[str, ...]
    other_class: str | None = None


CASES = {
    BernoulliScore: Case(build=BernoulliScore, reads=("bits",), other_class="margin:all"),
    GateLogitDistance: Case(build=GateLogitDistance, reads=("logits",), other_class="margin:all"),
    ActivationDistance: Case(
        build=ActivationDistance, reads=("activations",), other_class="margin:all"
    ),
    Confidence: Case(build=Confidence, reads=("class_logits",)),
    Disagreement: Case(build=Disagreement, reads=("bits",), other_class="path"),
    HammingNeighbours: Case(build=HammingNeighbours, reads=("bits",), other_class="margin"),
    Stability: Case(
        build=lambda layout, classes: Stability(layout, classes, COPIES),
        reads=("bits", "logits", "activations", "class_logits"),
    ),
}
PARTS = ("bits", "logits", "activations", "class_logits")


@pytest.fixture(params=CASES, ids=lambda kind: kind.__name__)
def case(request) -> Case:
    return CASES[request.param]


@pytest.fixture
def fitted(case, make_clean) -> Score:
    return case.build(LAYOUT, CLASSES).fit(make_clean(600, LAYOUT))


@pytest.fixture
def seen(make_seen) -> Observation:
    return make_seen(labels_of(9), LAYOUT, copies=COPIES, seed=1)


def labels_of(count: int) -> Tensor:
    return torch.arange(count) % CLASSES


def changed(seen: Observation, **parts: Tensor) -> Observation:
    """The observation with other bits, gate logits, activations or class logits."""
    logits = parts.pop("class_logits", seen.class_logits)
    path = dataclasses.replace(seen.path, **parts)
    return dataclasses.replace(seen, path=path, class_logits=logits)


def part_of(seen: Observation, name: str) -> Tensor:
    return seen.class_logits if name == "class_logits" else getattr(seen.path, name)


def test_every_exported_score_has_a_row() -> None:
    exported = {getattr(scoring, name) for name in scoring.__all__}
    scores = {
        kind
        for kind in exported
        if isinstance(kind, type) and issubclass(kind, Score) and not kind.__abstractmethods__
    }
    assert scores == set(CASES)


def test_each_image_gets_one_finite_number_for_each_name(fitted, seen) -> None:
    found = fitted(seen)
    assert found.shape == (9, len(fitted.names))
    assert found.dtype == torch.float32
    assert len(set(fitted.names)) == len(fitted.names)
    assert bool(found.isfinite().all())


def test_no_image_gets_no_number(fitted, seen) -> None:
    assert fitted(seen[:0]).shape == (0, len(fitted.names))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_network_that_broke_down_shows_in_its_own_image_alone(case, fitted, seen, bad) -> None:
    for name in {*case.reads, "class_logits"} - {"bits"}:
        values = part_of(seen, name).clone()
        values[1, 2] = bad
        finite = fitted(changed(seen, **{name: values})).isfinite().all(dim=1)
        assert finite.tolist() == [True, False] + [True] * 7, name


def test_a_number_does_not_depend_on_the_rest_of_the_batch(fitted, seen) -> None:
    alone = torch.cat([fitted(seen[row : row + 1]) for row in range(9)])
    torch.testing.assert_close(fitted(seen), alone, rtol=1e-5, atol=1e-4)
    order = torch.tensor([4, 0, 8, 2])
    torch.testing.assert_close(fitted(seen[order]), alone[order], rtol=1e-5, atol=1e-4)


def test_paths_of_another_class_score_higher(case, fitted, make_seen) -> None:
    if case.other_class is None:
        return
    labels = labels_of(300)
    place = fitted.names.index(case.other_class)
    own = fitted(make_seen(labels, LAYOUT, seed=1))[:, place]
    others = make_seen(labels, LAYOUT, seed=1, paths_of=(labels + 1) % CLASSES)
    # Images of this seed are of one class and held against two: most of them move up.
    assert float((fitted(others)[:, place] > own).float().mean()) > 0.9


def test_soft_bits_of_zero_and_one_score_as_hard_ones_do(fitted, seen) -> None:
    soft = dataclasses.replace(
        changed(seen, bits=seen.path.bits.float()),
        copies={n: changed(c, bits=c.path.bits.float()) for n, c in seen.copies.items()},
    )
    assert torch.equal(fitted(soft), fitted(seen))


def test_gradients_flow_to_all_that_is_read_and_to_nothing_else(case, fitted, seen) -> None:
    """An attacker who knows the score follows them, so that an evaluation can."""
    parts = {name: part_of(seen, name).float().clone().requires_grad_() for name in PARTS}
    parts["bits"] = (0.1 + 0.8 * seen.path.bits.float()).requires_grad_()
    # Weights of their own: the two directions of a confidence would cancel.
    weights = torch.arange(1.0, len(fitted.names) + 1)
    (fitted(changed(seen, **parts)) * weights).sum().backward()
    moved = {
        name
        for name, values in parts.items()
        if values.grad is not None and bool(values.grad.any())
    }
    assert moved == set(case.reads)
    for name in moved:
        assert bool(parts[name].grad.isfinite().all()), name
        assert bool((parts[name].grad != 0).any(dim=1).all()), name


def test_a_fitted_state_comes_back_whatever_it_was_fitted_on(
    case, fitted, seen, make_clean
) -> None:
    state = {name: tensor.clone() for name, tensor in fitted.state_dict().items()}
    other = case.build(LAYOUT, CLASSES).fit(make_clean(30, LAYOUT, seed=3))
    for score in (case.build(LAYOUT, CLASSES), other):
        assert score.restore(state) is score
        assert torch.equal(score(seen), fitted(seen))
        assert score.state_dict().keys() == state.keys()


def test_a_state_that_is_not_its_own_is_refused(case, fitted) -> None:
    state = fitted.state_dict()
    with pytest.raises(RuntimeError, match="strange"):
        case.build(LAYOUT, CLASSES).restore({**state, "strange": torch.zeros(1)})
    for name in state:
        less = {key: tensor for key, tensor in state.items() if key != name}
        with pytest.raises((KeyError, RuntimeError), match=name):
            case.build(LAYOUT, CLASSES).restore(less)
        wide = torch.zeros(*state[name].shape[:-1], state[name].shape[-1] + 1)
        with pytest.raises(RuntimeError, match="size mismatch"):
            case.build(LAYOUT, CLASSES).restore({**state, name: wide})


def test_fitting_changes_the_same_object_and_no_gradient_is_kept(case, make_clean) -> None:
    score = case.build(LAYOUT, CLASSES)
    assert score.fit(make_clean(60, LAYOUT)) is score
    assert not list(score.parameters())
    assert not any(buffer.requires_grad for buffer in score.buffers())


def test_layout_and_classes_have_to_be_those_of_the_score(fitted, make_seen, make_clean) -> None:
    narrow = PathLayout(names=("one",), sizes=(6,))
    for layout, classes in ((narrow, CLASSES), (LAYOUT, CLASSES + 1)):
        labels = torch.arange(9) % classes
        with pytest.raises(ValueError, match="Images should have 22 gates and 3 classes"):
            fitted(make_seen(labels, layout, classes=classes, copies=COPIES))
        with pytest.raises(ValueError, match="Clean images should have 22 gates and 3 classes"):
            fitted.fit(make_clean(60, layout, classes=classes))


def test_a_missing_copy_is_named(fitted, seen) -> None:
    less = dataclasses.replace(seen, copies={"flip": seen.copies["flip"]})
    if fitted.copies:
        with pytest.raises(ValueError, match=r"copies flip, shift:left\. Found no shift:left"):
            fitted(less)
    else:
        assert torch.equal(fitted(less), fitted(seen))


def test_one_class_alone_is_refused(case) -> None:
    with pytest.raises(ValueError, match="at least 2 classes"):
        case.build(LAYOUT, 1)


@pytest.mark.parametrize("among", ["all", "sample"])
def test_a_class_without_clean_images_is_refused(make_seen, among) -> None:
    labels = torch.zeros(10, dtype=torch.int64)
    sample = make_seen(labels, LAYOUT)
    counted = labels if among == "all" else labels_of(10)
    with pytest.raises(CalibrationError, match=r"Found none of class 1, 2\. Extract more"):
        CleanImages(
            statistics=PathStatistics.of(sample.path, counted, CLASSES),
            sample=sample,
            labels=labels,
            image_ids=torch.arange(10),
        )


def test_a_sample_that_is_none_of_the_counted_images_is_refused(make_seen, make_clean) -> None:
    clean = make_clean(30, LAYOUT)
    with pytest.raises(ValueError, match="one for each of 30 images"):
        dataclasses.replace(clean, labels=clean.labels[:29])
    with pytest.raises(ValueError, match="Indices should be one for each of 30 images"):
        dataclasses.replace(clean, image_ids=clean.image_ids[:29])
    four = make_seen(clean.labels, LAYOUT, classes=4)
    narrow = make_seen(clean.labels, PathLayout(names=("one",), sizes=(6,)))
    for sample in (four, narrow):
        with pytest.raises(ValueError, match="sample should have 22 gates and 3 classes"):
            dataclasses.replace(clean, sample=sample)
