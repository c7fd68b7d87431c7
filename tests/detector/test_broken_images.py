"""Files that somebody broke with knowledge of their format are images or an ImageError."""

from __future__ import annotations

import contextlib
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import ImageError
from detector.images import ImageLimits, decode_image
from tests.figures.mutant_files import SOUND_FILES, broken_file

LIMITS = ImageLimits(max_pixels=1_000_000)
MAGICS = (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\xff\0\0\0WEBPVP8 ", b"GIF89a")


def an_image_or_an_image_error(data: bytes) -> None:
    with contextlib.suppress(ImageError):
        image = decode_image(data, limits=LIMITS)
        assert image.dtype == torch.uint8
        assert image.ndim == 3
        assert len(image) == 3
        assert 1 <= image[0].numel() <= LIMITS.max_pixels


@pytest.mark.parametrize("file", SOUND_FILES, ids=range(len(SOUND_FILES)))
def test_what_is_broken_was_sound(file: bytes) -> None:
    assert decode_image(file, limits=LIMITS).ndim == 3


@settings(max_examples=1500, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_file_with_broken_parts_is_an_image_or_an_image_error(seed: int) -> None:
    an_image_or_an_image_error(broken_file(Random(seed)))


@pytest.mark.parametrize("magic", MAGICS)
@settings(max_examples=200, deadline=None)
@given(rest=st.binary(max_size=300))
def test_bytes_behind_a_magic_are_an_image_or_an_image_error(magic: bytes, rest: bytes) -> None:
    an_image_or_an_image_error(magic + rest)


@pytest.mark.parametrize("place", range(len(SOUND_FILES)))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_spliced_files_are_an_image_or_an_image_error(place: int, data: st.DataObject) -> None:
    begin, other = SOUND_FILES[place], data.draw(st.sampled_from(SOUND_FILES))
    cut = data.draw(st.integers(0, len(begin)))
    an_image_or_an_image_error(begin[:cut] + other[data.draw(st.integers(0, len(other))) :])
