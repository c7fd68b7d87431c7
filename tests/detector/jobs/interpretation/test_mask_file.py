"""A file of masks is read as it says, and what is wrong with it is told with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data import ArraySource, Images
from detector.errors import DataError
from detector.jobs.interpretation.mask_file import MaskedImages, read_masks
from detector.preprocessing import Preprocessing

CROPPED = Preprocessing(height=8, width=8, shorter_side=10, mean=(0.0,) * 3, std=(1.0,) * 3)
HEADER = "image,mask,concept\n"
FINE = HEADER + "3,left.png,left\n5,left.png,left\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    def mask(name: str, height: int, width: int, *, rows: slice, columns: slice) -> None:
        marked = np.zeros((height, width), dtype=np.uint8)
        marked[rows, columns] = 1  # hardly to be seen, but not black
        Image.fromarray(marked).save(tmp_path / name)

    everything = slice(None)
    mask("left.png", 20, 40, rows=everything, columns=slice(20))
    mask("top.png", 20, 40, rows=slice(10), columns=everything)
    mask("edge.png", 20, 40, rows=everything, columns=slice(2))
    mask("empty.png", 20, 40, rows=slice(0), columns=everything)
    mask("small.png", 10, 10, rows=everything, columns=everything)
    Image.fromarray(np.full((20, 40, 3), 9, dtype=np.uint8)).save(tmp_path / "photo.png")
    Image.fromarray(np.full((20, 40), 9, dtype=np.uint8)).save(tmp_path / "mask.jpg")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return tmp_path


@pytest.fixture
def images() -> Images:
    pixels = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones((20, 40, 3), np.uint8)
    return Images(ArraySource(pixels, np.arange(8) % 2, ("even", "odd")), np.array([3, 5, 7]))


def read(folder: Path, images: Images, text: str) -> MaskedImages:
    file = folder / "masks.csv"
    file.write_text(text)
    return read_masks(file, images, CROPPED)


def test_images_are_named_by_index_or_by_file(folder, images) -> None:
    found = read(folder, images, FINE + "photo.png,top.png,top\n7,top.png,top\n")
    assert found.concepts == ("left", "top")
    assert [int(found.read(row)[0].max()) for row in range(len(found))] == [3, 5, 9, 7]
    assert [found.having(row) for row in range(len(found))] == [(0,), (0,), (1,), (1,)]


def test_masks_are_cropped_with_their_images(folder, images) -> None:
    _, masks = read(folder, images, FINE).read(0)
    # 20 x 40 becomes 10 x 20, of which the middle 8 x 8 is seen: its left half is marked.
    assert masks.shape == (1, 8, 8)
    assert masks[0, :, :4].all()
    assert not masks[0, :, 4:].any()


def test_masks_of_one_concept_add_up_and_an_image_may_have_none(folder, images) -> None:
    found = read(folder, images, FINE + "3,top.png,left\n7,,\n")
    _, masks = found.read(0)
    assert masks[0].sum() == 48  # the left half, and the top half of the right one
    assert found.having(2) == ()
    assert not found.read(2)[1].any()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("image,mask\n", "line 1: the header should be image,mask,concept"),
        (HEADER, "should name at least one concept"),
        (HEADER + "3,,\n", "should name at least one concept"),
        (HEADER + "3,left.png\n", "line 2: there should be an image, a mask and a concept"),
        (HEADER + ",left.png,left\n", "line 2: there should be an image. Found ,left.png,left"),
        (HEADER + "3,left.png,\n", "line 2: there should be both a mask and a concept, or"),
        (HEADER + "3,,left\n", "line 2: there should be both a mask and a concept, or neither"),
        (FINE + "4,left.png,left\n", "line 4: there should be the index of one of 3 images"),
        (FINE + "none.png,left.png,left\n", "line 4: there should be a readable image"),
        (FINE + "7,none.png,left\n", "line 4: there should be a readable mask"),
        (FINE + "7,broken.png,left\n", "line 4: there should be a readable mask"),
        (FINE + "7,mask.jpg,left\n", "line 4: there should be a PNG mask"),
        (FINE + "7,small.png,left\n", "line 4: there should be a mask of the image's 40 x 20"),
        (FINE + "7,empty.png,left\n", "line 4: there should be a mask that marks some of what"),
        (FINE + "7,edge.png,left\n", "line 4: there should be a mask that marks some of what"),
        (FINE + "7,top.png,top\n", "line 4: there should be masks of 'top' for at least 2 images"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(folder, images, text, told) -> None:
    with pytest.raises(DataError) as caught:
        read(folder, images, text)
    assert str(caught.value).startswith(str(folder / "masks.csv"))
    assert told in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(folder, images) -> None:
    with pytest.raises(DataError, match=r"none\.csv should be a readable CSV file"):
        read_masks(folder / "none.csv", images, CROPPED)
