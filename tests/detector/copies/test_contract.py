"""What every copy keeps. A new copy is one more row of CASES."""

from __future__ import annotations

import pytest
import torch

from detector.copies import CopyName, copy_class, parse_copy
from detector.errors import InvalidInputError

CASES = [
    "flip",
    "shift:left",
    "shift:right",
    "shift:up",
    "shift:down",
    "half-shift:left",
    "half-shift:down",
    "scale:0.75",
    "scale:1",
    "scale:0.1",
    "median:2",
    "median:3",
    "bits:1",
    "bits:5",
    "jpeg:75",
    "jpeg:1",
]
SIZES = [(1, 1), (1, 7), (5, 1), (3, 2), (9, 13), (32, 32)]


def some_images(height: int, width: int, count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * 100 + width)
    shape = (count, 3, height, width)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


every_copy = pytest.mark.parametrize("name", CASES)


def test_every_kind_of_copy_is_in_the_table() -> None:
    assert {type(parse_copy(name)) for name in CASES} == {copy_class(name) for name in CopyName}


@every_copy
def test_a_name_reads_as_it_was_written(name) -> None:
    assert parse_copy(name).name == name
    assert parse_copy(f" {name.upper()} ") == parse_copy(name)
    assert len({parse_copy(name), parse_copy(name)}) == 1


@every_copy
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_shape_and_type_stay_and_the_input_is_never_changed(name, size) -> None:
    images = some_images(*size)
    before = images.clone()
    copied = parse_copy(name)(images)
    assert (copied.shape, copied.dtype) == (images.shape, torch.uint8)
    assert copied.is_contiguous()
    copied.fill_(7)
    assert torch.equal(images, before)


@every_copy
def test_the_same_image_gives_the_same_copy_whatever_is_beside_it(name) -> None:
    images = some_images(9, 13, count=5)
    copy = parse_copy(name)
    torch.manual_seed(1)
    together = copy(images)
    torch.manual_seed(2)
    assert torch.equal(copy(images), together)
    alone = torch.cat([copy(images[row : row + 1]) for row in range(5)])
    assert torch.equal(alone, together)
    assert torch.equal(copy(images.flip(0)), together.flip(0))


@every_copy
def test_how_images_lie_in_memory_does_not_matter(name) -> None:
    images = some_images(9, 13)
    copy = parse_copy(name)
    other = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(copy(other), copy(images))
    assert torch.equal(copy(images[1:]), copy(images)[1:])


@every_copy
def test_an_even_image_stays_even(name) -> None:
    copied = parse_copy(name)(torch.full((1, 3, 8, 11), 255, dtype=torch.uint8))
    assert (255 - copied.int()).max() <= 1


@every_copy
def test_no_images_give_no_copies(name) -> None:
    assert parse_copy(name)(some_images(4, 5)[:0]).shape == (0, 3, 4, 5)


@every_copy
@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(1, 3, 4, 4),
        torch.zeros(3, 4, 4, dtype=torch.uint8),
        torch.zeros(1, 1, 4, 4, dtype=torch.uint8),
        torch.zeros(1, 3, 0, 4, dtype=torch.uint8),
    ],
    ids=["floats", "no batch", "grey", "empty"],
)
def test_what_is_no_batch_of_images_is_refused(name, images) -> None:
    with pytest.raises(InvalidInputError, match=r"should be uint8 of shape .* Found") as caught:
        parse_copy(name)(images)
    assert caught.value.field == "images"
