"""Each copy on images small enough to work out by hand, and names that are none."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import median_filter

from detector.copies import BitDepth, Median, Scale, parse_copy
from detector.errors import InvalidInputError

ROWS = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=torch.uint8)


def image_of(rows: torch.Tensor) -> torch.Tensor:
    return rows.expand(1, 3, *rows.shape)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("flip", [[3, 2, 1], [6, 5, 4], [9, 8, 7]]),
        ("shift:left", [[2, 3, 3], [5, 6, 6], [8, 9, 9]]),
        ("shift:right", [[1, 1, 2], [4, 4, 5], [7, 7, 8]]),
        ("shift:up", [[4, 5, 6], [7, 8, 9], [7, 8, 9]]),
        ("shift:down", [[1, 2, 3], [1, 2, 3], [4, 5, 6]]),
        ("median:3", [[2, 3, 3], [4, 5, 6], [7, 7, 8]]),
        ("median:2", [[1, 2, 3], [4, 4, 5], [7, 7, 8]]),
    ],
)
def test_a_copy_is_what_its_name_says(name, expected) -> None:
    copied = parse_copy(name)(image_of(ROWS))
    assert torch.equal(copied, image_of(torch.tensor(expected, dtype=torch.uint8)))


def test_half_a_shift_is_the_mean_of_neighbours_rounded_half_up() -> None:
    rows = image_of(torch.tensor([[0, 10, 31], [255, 255, 254]], dtype=torch.uint8))
    left, down = (parse_copy(f"half-shift:{way}")(rows)[0, 0].tolist() for way in ("left", "down"))
    assert left == [[5, 21, 31], [255, 255, 254]]
    assert down == [[0, 10, 31], [128, 133, 143]]


@pytest.mark.parametrize("size", [2, 3])
def test_the_median_is_that_of_scipy(size) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 7, 6), generator=generator, dtype=torch.uint8)
    expected = median_filter(images.numpy(), size=(1, 1, size, size), mode="nearest")
    assert torch.equal(Median(size=size)(images), torch.from_numpy(expected))


@pytest.mark.parametrize("bits", range(1, 8))
def test_fewer_bits_leave_so_many_values_each_the_nearest(bits) -> None:
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    copied = BitDepth(bits=bits)(values)
    assert len(copied.unique()) == 2**bits
    assert {0, 255} <= set(copied.unique().tolist())
    away = (copied.int() - values.int()).abs().max()
    assert away <= 127 / (2**bits - 1) + 1


def test_scaling_takes_away_what_is_finer_than_the_smaller_image() -> None:
    stripes = torch.tensor([0, 200], dtype=torch.uint8).repeat(16).expand(1, 3, 32, 32)
    slope = torch.arange(0, 128, 4, dtype=torch.uint8).expand(1, 3, 32, 32)
    assert Scale(factor=0.5)(stripes)[..., 2:-2].float().std() < 5
    assert (Scale(factor=0.5)(slope).int() - slope.int())[..., 4:-4].abs().max() <= 1


@pytest.mark.parametrize(
    "name",
    [
        "",
        "mirror",
        "original",
        "flip:left",
        "shift",
        "shift:north",
        "scale",
        "scale:",
        "scale:.",
        "scale:0",
        "scale:1.5",
        "scale:nan",
        "scale:-1",
        "median",
        "median:4",
        "median:2.5",
        "bits:0",
        "bits:8",
        "jpeg:100",
        "jpeg:0",
        "jpeg:75:1",
    ],
)
def test_a_name_that_stands_for_no_copy_is_refused(name) -> None:
    with pytest.raises(InvalidInputError, match=r"should .*Found") as caught:
        parse_copy(name)
    assert caught.value.field == "copy"


def test_names_that_mean_the_same_become_one() -> None:
    assert parse_copy("scale:.750").name == parse_copy("scale:0.75").name == "scale:0.75"
