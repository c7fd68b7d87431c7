import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from detector.errors import InvalidInputError
from detector.preprocessing import (
    CIFAR10_PREPROCESSING,
    IMAGENET_PREPROCESSING,
    Preprocessing,
)

SMALL = Preprocessing(
    height=6, width=5, shorter_side=8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125)
)


def image(height, width):
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 70), st.integers(1, 70))
def test_an_image_of_any_size_fits_the_network(height, width):
    fitted = SMALL.fit(image(height, width))
    assert fitted.shape == (3, 6, 5)
    assert fitted.dtype == torch.uint8


def test_an_image_of_the_right_size_is_left_as_it_is():
    found = image(6, 5)
    assert torch.equal(SMALL.fit(found), found)


@pytest.mark.parametrize("size", [(300, 260), (256, 400), (50, 90), (1000, 257)])
def test_other_images_are_resized_and_cropped_as_torchvision_does_for_its_weights(size):
    reference = v2.Compose([v2.Resize(256, antialias=True), v2.CenterCrop(224)])
    found = image(*size)
    assert torch.equal(IMAGENET_PREPROCESSING.fit(found), reference(found))


def test_at_another_input_size_the_same_part_of_each_image_is_seen():
    assert IMAGENET_PREPROCESSING.resized(224) == IMAGENET_PREPROCESSING
    assert CIFAR10_PREPROCESSING.resized(32) == CIFAR10_PREPROCESSING
    half = IMAGENET_PREPROCESSING.resized(112)
    assert (half.height, half.width, half.shorter_side) == (112, 112, 128)
    assert (half.mean, half.std) == (IMAGENET_PREPROCESSING.mean, IMAGENET_PREPROCESSING.std)
    assert all(
        IMAGENET_PREPROCESSING.resized(side).fit(image(9, 7)).shape == (3, side, side)
        for side in range(8, 40)
    )


def test_an_input_without_a_pixel_is_refused():
    with pytest.raises(InvalidInputError, match=r"at least 1 pixel\. Found 0"):
        IMAGENET_PREPROCESSING.resized(0)


@pytest.mark.parametrize("size", [(1, 200_000), (200_000, 1)])
def test_a_very_long_image_costs_no_more_memory_than_its_middle(size, monkeypatch):
    resized = []
    resize = v2.functional.resize

    def watched(found, *args, **kwargs):
        resized.append(tuple(found.shape))
        return resize(found, *args, **kwargs)

    monkeypatch.setattr(v2.functional, "resize", watched)
    assert IMAGENET_PREPROCESSING.fit(image(*size)).shape == (3, 224, 224)
    assert max(resized[0][1:]) == 8


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(3, 4, 4),
        torch.zeros(1, 4, 4, dtype=torch.uint8),
        torch.zeros(4, 4, 3, dtype=torch.uint8),
        torch.zeros(4, 4, dtype=torch.uint8),
        torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
        torch.zeros(3, 0, 4, dtype=torch.uint8),
    ],
)
def test_what_is_no_colour_image_of_eight_bits_is_refused(wrong):
    with pytest.raises(InvalidInputError, match=r"uint8 tensor of shape \(3, H, W\).*Found"):
        SMALL.fit(wrong)


def test_calling_it_scales_to_one_and_normalises_each_channel():
    pixels = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 6, 5)
    expected = torch.tensor([(0 - 0.1) / 0.5, (1 - 0.2) / 0.25, (0.2 - 0.3) / 0.125])
    found = SMALL(pixels)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.view(1, 3, 1, 1).expand(2, 3, 6, 5))
    assert torch.equal(found, SMALL.normalise(SMALL.scale(pixels)))


@pytest.mark.parametrize("preprocessing", [SMALL, CIFAR10_PREPROCESSING, IMAGENET_PREPROCESSING])
def test_it_travels_through_json_without_a_change(preprocessing):
    assert Preprocessing.from_json(json.loads(json.dumps(preprocessing.to_json()))) == preprocessing


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"mean": [0.1, 0.2]}, ValueError),
        ({"std": [0.1, 0.2, 0.0]}, ValueError),
        ({"height": 0}, ValueError),
        ({"shorter_side": 5}, ValueError),
        ({"colour": "blue"}, TypeError),
    ],
)
def test_json_that_describes_no_preprocessing_is_refused(change, error):
    with pytest.raises(error):
        Preprocessing.from_json(SMALL.to_json() | change)


def test_a_crop_larger_than_the_resized_image_is_refused():
    with pytest.raises(ValueError, match="shorter_side should be at least 9"):
        Preprocessing(height=4, width=9, shorter_side=8, mean=(0, 0, 0), std=(1, 1, 1))


def test_denormalising_takes_normalising_back_and_stays_in_the_range_of_pixels():
    images = torch.cat([torch.zeros(1, 3, 6, 5), torch.ones(1, 3, 6, 5), torch.rand(1, 3, 6, 5)])
    found = SMALL.denormalise(SMALL.normalise(images))
    torch.testing.assert_close(found, images)
    assert found.min() >= 0
    assert found.max() <= 1
