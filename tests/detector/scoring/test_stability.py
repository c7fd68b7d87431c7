"""Stability under copies: by hand, by its definition, and what holds for any logits."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from detector.paths import PathLayout, PathVectors
from detector.scoring import Observation, Stability

LAYOUT = PathLayout(names=("one", "two"), sizes=(2, 3))
NAMES = (
    "margin-fall",
    "probability-fall",
    "disagreement",
    "path-bits",
    "path-logits",
    "path-activations",
)


def told(class_logits: object, gates: object) -> Observation:
    """What a network tells whose activations are its gate logits where the gate is open."""
    gates = torch.as_tensor(gates, dtype=torch.float32).reshape(-1, LAYOUT.gates)
    bits = gates > 0
    path = PathVectors(layout=LAYOUT, bits=bits, logits=gates, activations=gates * bits)
    return Observation(path=path, class_logits=torch.as_tensor(class_logits, dtype=torch.float32))


def random_case(images: int, copies: tuple[str, ...], seed: int, classes: int = 4) -> Observation:
    generator = torch.Generator().manual_seed(seed)

    def one() -> Observation:
        return told(
            3 * torch.randn(images, classes, generator=generator),
            torch.randn(images, LAYOUT.gates, generator=generator),
        )

    return dataclasses.replace(one(), copies={name: one() for name in copies})


def with_logits(seen: Observation, original: Tensor, *copies: Tensor) -> Observation:
    """The same paths with other class logits."""
    return dataclasses.replace(
        seen,
        class_logits=original,
        copies={
            name: dataclasses.replace(copy, class_logits=logits)
            for (name, copy), logits in zip(seen.copies.items(), copies, strict=True)
        },
    )


def test_one_image_and_two_copies_by_hand() -> None:
    seen = dataclasses.replace(
        told([[3.0, 1.0, 0.0]], [1, -1, 2, 2, 2]),
        copies={
            "flip": told([[2.0, 1.5, -1.0]], [1, -1, 2, 2, 2]),
            "shift:left": told([[0.0, 1.0, 0.5]], [-1, -2, 2, -1, 8]),
        },
    )
    stability = Stability(LAYOUT, 3, ("flip", "shift:left"))
    before = math.exp(3) / (math.exp(3) + math.exp(1) + 1)
    flip = math.exp(2) / (math.exp(2) + math.exp(1.5) + math.exp(-1))
    shift = 1 / (1 + math.exp(1) + math.exp(0.5))
    # Margins 2 and 3 become 0.5 and 3 under the flip, -1 and -0.5 under the shift.
    expected = {
        "margin-fall:flip": 1.5,
        "probability-fall:flip": before - flip,
        "disagreement:flip": 0,
        "path-bits:flip": 0,
        "path-logits:flip": 0,
        "path-activations:flip": 0,
        "margin-fall:shift:left": 3.5,
        "probability-fall:shift:left": before - shift,
        "disagreement:shift:left": 1,
        "path-bits:shift:left": 2 / 5,
        "path-logits:shift:left": (2 + 1 + 0 + 3 + 6) / 5,
        "path-activations:shift:left": (1 + 0 + 0 + 2 + 6) / 5,
    }
    assert stability.names == tuple(expected)
    torch.testing.assert_close(stability(seen), torch.tensor([list(expected.values())]))


def test_a_margin_that_grows_under_a_copy_counts_as_no_fall() -> None:
    gates = [1] * LAYOUT.gates
    copy = told([[5.0, 0.0, 1.0]], gates)
    seen = dataclasses.replace(told([[1.0, 0.0, 0.0]], gates), copies={"flip": copy})
    assert float(Stability(LAYOUT, 3, ("flip",))(seen)[0, 0]) == -3.0


def test_numbers_of_a_batch_are_those_of_the_definition() -> None:
    copies = ("flip", "shift:left", "scale:0.75")
    seen = random_case(5, copies, seed=0)
    stability = Stability(LAYOUT, 4, copies)
    found = stability(seen).view(5, len(copies), len(NAMES))
    assert stability.names == tuple(f"{name}:{copy}" for copy in copies for name in NAMES)
    for place, copy in enumerate(seen.copies.values()):
        for image in range(5):
            before, after = seen.class_logits[image], copy.class_logits[image]
            own = int(before.argmax())
            falls = [
                (before[own] - before[j]) - (after[own] - after[j]) for j in range(4) if j != own
            ]
            expected = [
                max(falls),
                before.softmax(0)[own] - after.softmax(0)[own],
                float(after.argmax() != own),
                (seen.path.bits[image] != copy.path.bits[image]).float().mean(),
                (seen.path.logits[image] - copy.path.logits[image]).abs().mean(),
                (seen.path.activations[image] - copy.path.activations[image]).abs().mean(),
            ]
            torch.testing.assert_close(found[image, place], torch.tensor(expected))


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 3), st.floats(-50, 50))
def test_class_logits_count_by_their_margins_alone(seed, images, count, offset) -> None:
    copies = tuple(f"copy-{place}" for place in range(count))
    seen = random_case(images, copies, seed)
    stability = Stability(LAYOUT, 4, copies)
    found = stability(seen)
    copied = [copy.class_logits for copy in seen.copies.values()]

    moved = with_logits(seen, seen.class_logits + offset, *(each - offset for each in copied))
    torch.testing.assert_close(stability(moved), found, rtol=0, atol=1e-3)

    order = torch.tensor([2, 0, 3, 1])
    renamed = with_logits(seen, seen.class_logits[:, order], *(each[:, order] for each in copied))
    torch.testing.assert_close(stability(renamed), found)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_copies_that_change_nothing_give_zero_everywhere(seed, images) -> None:
    seen = random_case(images, (), seed)
    same = dataclasses.replace(seen, copies={"flip": seen, "shift:left": seen})
    assert not Stability(LAYOUT, 4, ("flip", "shift:left"))(same).any()


def test_only_the_named_copies_are_read_in_their_order() -> None:
    seen = random_case(5, ("flip", "shift:left", "bits:5"), seed=0)
    both = Stability(LAYOUT, 4, ("bits:5", "flip"))(seen)
    alone = [Stability(LAYOUT, 4, (copy,))(seen) for copy in ("bits:5", "flip")]
    assert torch.equal(both, torch.cat(alone, dim=1))


def test_a_copy_that_broke_down_shows_in_its_own_image_alone() -> None:
    for bad in (torch.nan, torch.inf, -torch.inf):
        seen = random_case(3, ("flip",), seed=1)
        seen.copies["flip"].class_logits[1] = bad
        finite = Stability(LAYOUT, 4, ("flip",))(seen).isfinite().all(dim=1)
        assert finite.tolist() == [True, False, True]


@pytest.mark.parametrize("copies", [(), ("flip", "flip")])
def test_copies_have_to_be_there_and_each_once(copies) -> None:
    with pytest.raises(ValueError, match="at least one copy, each once"):
        Stability(LAYOUT, 4, copies)
