"""Stability under copies: by hand, by its definition, and what holds for any logits."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from detector.errors import CalibrationError
from detector.paths import PathLayout, PathVectors
from detector.scoring import Stability

LAYOUT = PathLayout(names=("one", "two"), sizes=(2, 3))
NAMES = ("margin-fall", "probability-fall", "disagreement", "path-bits")


def path_of(logits) -> PathVectors:
    logits = torch.as_tensor(logits, dtype=torch.float32).reshape(-1, LAYOUT.gates)
    return PathVectors(layout=LAYOUT, bits=logits > 0, logits=logits, activations=logits)


def random_case(images: int, copies: int, seed: int, classes: int = 4):
    generator = torch.Generator().manual_seed(seed)
    rows = images * (copies + 1)
    logits = torch.randn(rows, classes, generator=generator) * 3
    path = path_of(torch.randn(rows, LAYOUT.gates, generator=generator))
    return logits[:images], path[:images], logits[images:], path[images:]


def column(stability: Stability, values: torch.Tensor, name: str) -> torch.Tensor:
    return values[:, stability.names.index(name)]


def test_one_image_and_two_copies_by_hand() -> None:
    stability = Stability(LAYOUT, ("flip", "shift:left"))
    logits = torch.tensor([[3.0, 1.0, 0.0]])
    copied = torch.tensor([[2.0, 1.5, -1.0], [0.0, 1.0, 0.5]])
    path = path_of([1, -1, 2, 2, 2])
    copy_paths = path_of([[1, -1, 2, 2, 2], [-1, -2, 2, -1, 8]])
    values = stability.measure(logits, path, copied, copy_paths)
    before = math.exp(3) / (math.exp(3) + math.exp(1) + 1)
    flip = math.exp(2) / (math.exp(2) + math.exp(1.5) + math.exp(-1))
    shift = 1 / (1 + math.exp(1) + math.exp(0.5))
    # Margins 2 and 3 become 0.5 and 3 under the flip, -1 and -0.5 under the shift.
    expected = {
        "margin-fall:flip": 1.5,
        "probability-fall:flip": before - flip,
        "disagreement:flip": 0,
        "path-bits:flip": 0,
        "path-logits:flip:one": 0,
        "path-logits:flip:two": 0,
        "margin-fall:shift:left": 3.5,
        "probability-fall:shift:left": before - shift,
        "disagreement:shift:left": 1,
        "path-bits:shift:left": 2 / 5,
        "path-logits:shift:left:one": (2 + 1) / 2,
        "path-logits:shift:left:two": (0 + 3 + 6) / 3,
    }
    assert stability.names == tuple(expected)
    torch.testing.assert_close(values, torch.tensor([list(expected.values())]))
    assert stability.directed.tolist() == [True, True, True, False, False, False] * 2


def test_a_margin_that_grows_under_a_copy_counts_as_no_fall() -> None:
    stability = Stability(LAYOUT, ("flip",))
    path = path_of([1] * 5)
    values = stability.measure(
        torch.tensor([[1.0, 0.0, 0.0]]), path, torch.tensor([[5.0, 0.0, 1.0]]), path
    )
    assert column(stability, values, "margin-fall:flip").tolist() == [-3.0]


def test_statistics_of_a_batch_are_those_of_the_definition() -> None:
    stability = Stability(LAYOUT, ("flip", "shift:left", "scale:0.75"))
    logits, path, copied, copy_paths = random_case(5, 3, seed=0)
    values = stability.measure(logits, path, copied, copy_paths)
    assert values.shape == (5, 3 * (4 + 2))
    for place, copy in enumerate(stability.copies):
        for image in range(5):
            row = 5 * place + image
            own = int(logits[image].argmax())
            falls = [
                (logits[image, own] - logits[image, j]) - (copied[row, own] - copied[row, j])
                for j in range(4)
                if j != own
            ]
            fall = logits[image].softmax(0)[own] - copied[row].softmax(0)[own]
            differ = (path.bits[image] != copy_paths.bits[row]).float().mean()
            found = [column(stability, values, f"{name}:{copy}")[image] for name in NAMES]
            other = float(copied[row].argmax() != own)
            torch.testing.assert_close(
                torch.stack(found), torch.tensor([max(falls), fall, other, differ])
            )


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 3), st.floats(-50, 50))
def test_statistics_depend_on_margins_alone_and_on_no_other_image(
    seed, images, copies, offset
) -> None:
    stability = Stability(LAYOUT, tuple(f"copy-{place}" for place in range(copies)))
    logits, path, copied, copy_paths = random_case(images, copies, seed)
    values = stability.measure(logits, path, copied, copy_paths)
    assert values.isfinite().all()

    moved = stability.measure(logits + offset, path, copied - offset, copy_paths)
    torch.testing.assert_close(moved, values, rtol=0, atol=1e-3)

    order = torch.tensor([2, 0, 3, 1])
    renamed = stability.measure(logits[:, order], path, copied[:, order], copy_paths)
    torch.testing.assert_close(renamed, values)

    rows = torch.arange(copies) * images  # the first image and its copies
    alone = stability.measure(logits[:1], path[:1], copied[rows], copy_paths[rows])
    torch.testing.assert_close(alone, values[:1])

    unchanged = stability.measure(
        logits,
        path,
        logits.repeat(copies, 1),
        PathVectors.concatenate([path] * copies),
    )
    assert not unchanged.any()


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=30),
    st.lists(st.integers(-5, 5), min_size=1, max_size=10),
)
def test_a_p_value_is_the_share_of_clean_images_that_reach_the_value(clean, seen) -> None:
    stability = Stability(LAYOUT, ("flip",))
    columns = len(stability.names)
    sides = torch.tensor([1.0, -1.0] * (columns // 2))
    reference = torch.tensor(clean, dtype=torch.float32)[:, None] * sides
    values = torch.tensor(seen, dtype=torch.float32)[:, None] * sides
    found = stability.fit(reference)(values)
    reached = (reference[None] >= values[:, None]).sum(dim=1)
    torch.testing.assert_close(found, (1 + reached) / (len(clean) + 1))
    order = values[:, 0].argsort()
    assert (found[order, 0].diff() <= 0).all()


def test_attack_like_copies_get_small_p_values_and_clean_ones_even_ones() -> None:
    stability = Stability(LAYOUT, ("flip",))

    def measured(count: int, seed: int, fall: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        logits = 4.0 * functional.one_hot(torch.arange(count) % 4, 4)
        path = path_of(torch.randn(count, LAYOUT.gates, generator=generator))
        moved = path_of(path.logits + 0.1 * torch.randn(path.logits.shape, generator=generator))
        noise = torch.randn(count, 4, generator=generator)
        return stability.measure(logits, path, logits * (1 - fall) + noise, moved)

    stability.fit(measured(2000, 0, fall=0.0))
    clean, attacked = stability(measured(2000, 1, 0.0)), stability(measured(2000, 2, 1.0))
    small = column(stability, clean, "margin-fall:flip") <= 0.1
    # Six deviations of a share of .1 among 2000 against a reference of 2000 are .057.
    assert abs(float(small.float().mean()) - 0.1) < 0.057
    assert float(column(stability, attacked, "margin-fall:flip").median()) < 0.01


def test_the_state_is_tensors_that_restore_the_same_p_values() -> None:
    stability = Stability(LAYOUT, ("flip", "shift:left"))
    stability.fit(stability.measure(*random_case(40, 2, seed=0)))
    state = {name: tensor.clone() for name, tensor in stability.state_dict().items()}
    restored = Stability.from_state(LAYOUT, stability.copies, state)
    values = stability.measure(*random_case(7, 2, seed=1))
    assert torch.equal(restored(values), stability(values))
    assert set(state) == {"reference"}
    with pytest.raises((RuntimeError, ValueError)):
        Stability.from_state(LAYOUT, ("flip",), state)
    with pytest.raises(ValueError, match=r"shape \(S, M\)"):
        Stability.from_state(LAYOUT, ("flip",), {"reference": torch.zeros(3)})


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_shows_as_nan_in_its_own_row_alone(broken) -> None:
    stability = Stability(LAYOUT, ("flip",))
    stability.fit(stability.measure(*random_case(40, 1, seed=0)))
    logits, path, copied, copy_paths = random_case(3, 1, seed=1)
    copied[1] = broken
    p_values = stability(stability.measure(logits, path, copied, copy_paths))
    assert p_values[1].isnan().any()
    assert p_values[[0, 2]].isfinite().all()


def test_no_images_have_no_statistics() -> None:
    stability = Stability(LAYOUT, ("flip",))
    logits, path, copied, copy_paths = random_case(3, 1, seed=1)
    none = stability.measure(logits[:0], path[:0], copied[:0], copy_paths[:0])
    assert none.shape == (0, len(stability.names))


def test_shapes_that_do_not_fit_are_refused() -> None:
    stability = Stability(LAYOUT, ("flip", "shift:left"))
    logits, path, copied, copy_paths = random_case(3, 2, seed=1)
    other = PathLayout(names=("one",), sizes=(5,))
    strange = PathVectors(
        layout=other,
        bits=copy_paths.bits,
        logits=copy_paths.logits,
        activations=copy_paths.activations,
    )
    for case in (
        (logits, path, copied[:3], copy_paths),
        (logits, path, copied, copy_paths[:3]),
        (logits[:2], path, copied, copy_paths),
        (logits, path, copied[:, :3], copy_paths),
        (logits[:, :1], path, copied[:, :1], copy_paths),
        (logits, path, copied, strange),
    ):
        with pytest.raises(ValueError, match=r"should .*Found"):
            stability.measure(*case)
    for copies in ((), ("flip", "flip")):
        with pytest.raises(ValueError, match="at least one copy"):
            Stability(LAYOUT, copies)


def test_a_fit_on_nothing_usable_is_refused() -> None:
    stability = Stability(LAYOUT, ("flip",))
    columns = len(stability.names)
    with pytest.raises(ValueError, match="after a fit"):
        stability(torch.zeros(1, columns))
    with pytest.raises(ValueError, match="columns"):
        stability.fit(torch.zeros(4, columns - 1))
    for clean in (torch.zeros(0, columns), torch.full((4, columns), torch.nan)):
        with pytest.raises(CalibrationError, match="at least one clean image"):
            stability.fit(clean)
