"""Corruptions against their definitions, and against other libraries that compute the same."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from detector.corruptions import (
    Brightness,
    Contrast,
    DefocusBlur,
    Fog,
    GaussianNoise,
    GlassBlur,
    ImpulseNoise,
    MotionBlur,
    Pixelate,
    ShotNoise,
    ZoomBlur,
)
from detector.corruptions.sampling import read_at, smoothed, zoomed

SIGMAS = 5
"""Standard errors that a mean may be off: one run in two million fails by chance."""


def even(value: int, count: int = 8) -> torch.Tensor:
    return torch.full((count, 3, 32, 32), value, dtype=torch.uint8)


def random_images(count: int = 2, side: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (count, 3, side, side)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("corruption", "deviation"),
    [
        (GaussianNoise(severity=1), 0.04 * 255),
        (GaussianNoise(severity=5), 0.10 * 255),
        (ShotNoise(severity=1), (128 / 255 / 500) ** 0.5 * 255),
        (ShotNoise(severity=5), (128 / 255 / 50) ** 0.5 * 255),
    ],
    ids=repr,
)
def test_noise_has_the_mean_and_deviation_of_its_formula(corruption, deviation) -> None:
    """From mid-grey no value of five deviations reaches black or white, so nothing is clipped."""
    change = corruption(even(128)).double() - 128
    count = change.numel()
    assert abs(float(change.mean())) < SIGMAS * deviation / count**0.5
    # Rounding adds the variance of a uniform number of width 1, up to the grid of the counts.
    expected = (deviation**2 + 1 / 12) ** 0.5
    slack = SIGMAS * expected / (2 * count) ** 0.5  # a deviation's standard error, near normal
    assert float(change.std()) == pytest.approx(expected, abs=slack + 1 / 24 / expected)


@pytest.mark.parametrize(("severity", "share"), [(1, 0.01), (5, 0.07)])
def test_impulses_are_black_or_white_in_equal_shares(severity, share) -> None:
    corrupted = ImpulseNoise(severity=severity)(even(128))
    assert set(corrupted.unique().tolist()) == {0, 128, 255}
    count, half = corrupted.numel(), share / 2
    slack = SIGMAS * (half * (1 - half) / count) ** 0.5
    for value in (0, 255):
        assert float((corrupted == value).double().mean()) == pytest.approx(half, abs=slack)


@pytest.mark.parametrize(
    ("severity", "added"), [(1, 0.05), (2, 0.1), (3, 0.15), (4, 0.2), (5, 0.3)]
)
def test_brightness_adds_to_the_value_of_each_pixels_hue_saturation_and_value(
    severity, added
) -> None:
    images = random_images(count=1, side=8)
    images[0, :, 0, 0], images[0, :, 0, 1] = 0, 255
    corrupted = Brightness(severity=severity)(images)[0].flatten(1).T.tolist()
    for pixel, found in zip(images[0].flatten(1).T.tolist(), corrupted, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in pixel))
        brighter = colorsys.hsv_to_rgb(hue, saturation, min(value + added, 1))
        assert found == pytest.approx([255 * channel for channel in brighter], abs=0.501)


@pytest.mark.parametrize(("severity", "kept"), [(1, 0.75), (2, 0.5), (3, 0.4), (4, 0.3), (5, 0.15)])
def test_contrast_draws_values_to_their_channels_mean(severity, kept) -> None:
    images = random_images().double()
    mean = images.mean(dim=(2, 3), keepdim=True)
    found = Contrast(severity=severity)(images.to(torch.uint8)).double()
    assert float((found - (kept * (images - mean) + mean)).abs().max()) < 0.501


@pytest.mark.parametrize(("severity", "small"), [(1, 30), (2, 28), (3, 27), (4, 24), (5, 20)])
def test_pixelation_leaves_so_many_rows_and_columns_apart(severity, small) -> None:
    found = Pixelate(severity=severity)(random_images(count=1))[0]
    rows = (found[:, 1:] != found[:, :-1]).any(dim=2).any(dim=0)
    columns = (found[:, :, 1:] != found[:, :, :-1]).any(dim=1).any(dim=0)
    assert int(rows.sum()) == int(columns.sum()) == small - 1


def test_pixels_of_half_the_size_are_means_of_four() -> None:
    """A side of 3 becomes one of 1, whose pixel is the mean of all nine."""
    image = torch.arange(0, 90, 10, dtype=torch.uint8).view(1, 1, 3, 3).expand(1, 3, 3, 3)
    assert Pixelate(severity=5)(image).unique().tolist() == [40]


def test_a_lens_out_of_focus_spreads_a_point_over_its_disk() -> None:
    point = torch.zeros(1, 3, 9, 9, dtype=torch.uint8)
    point[..., 4, 4] = 255
    wide = DefocusBlur(severity=5)(point)[0, 0]
    assert wide[3:6, 3:6].tolist() == [[28] * 3] * 3  # nine pixels of radius 1.5
    assert int(wide.sum()) == 9 * 28
    cross = DefocusBlur(severity=4)(point)[0, 0]
    assert cross[3:6, 3:6].tolist() == [[0, 51, 0], [51] * 3, [0, 51, 0]]


def test_motion_draws_a_point_out_to_one_side() -> None:
    point = torch.zeros(4, 3, 31, 31, dtype=torch.uint8)
    point[..., 15, 15] = 255
    streak = MotionBlur(severity=5)(point)[:, 0]
    assert bool((streak[:, :, 16:] == 0).all())
    assert bool((streak[:, 15, 15] == streak.amax(dim=(1, 2))).all())
    # All light is still there, but for what rounding takes from 19 pixels.
    assert bool(((streak.int().sum(dim=(1, 2)) - 255).abs() <= 19 / 2).all())


def test_frosted_glass_shows_each_pixel_or_a_neighbour_one_as_likely_as_the_other() -> None:
    images = random_images(count=8)
    found = GlassBlur(severity=1)(images)  # its filter is narrower than a pixel
    assert torch.equal(found[:, :, :2], images[:, :, :2])
    inner, count = found[:, :, 2:, 2:], 8 * 30 * 30
    seen = torch.zeros(8, 30, 30, dtype=torch.bool)
    for up, left in ((0, 0), (0, 1), (1, 0), (1, 1)):
        source = images[:, :, 2 - up : 32 - up, 2 - left : 32 - left]
        same = (inner == source).all(dim=1)
        slack = SIGMAS * (0.25 * 0.75 / count) ** 0.5
        assert float(same.double().mean()) == pytest.approx(0.25, abs=slack)
        seen |= same
    assert seen.all()


def test_zooming_keeps_the_centre_and_smears_what_moves_past() -> None:
    rings = torch.zeros(1, 3, 33, 33, dtype=torch.uint8)
    rings[..., 16, 16] = 255
    rings[..., 16, 1] = 255
    found = ZoomBlur(severity=5)(rings)[0, 0]
    assert found[16, 16] > 3 * found[16].roll(-1)[1:15].max()
    assert found[16, 1] < 64


def test_fog_keeps_the_whitest_point_and_lights_the_darkest() -> None:
    """(x + c p) m / (m + c) with p in 0..1 reaches no further than m, and 0 only without cloud."""
    images = random_images(count=8) // 2
    for severity in range(1, 6):
        found = Fog(severity=severity)(images)
        assert found.max() <= images.max()
    night = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    night[..., 0, 0] = 200
    clouds = Fog(severity=5)(night)[:, 0].flatten(1)[:, 1:].float()
    assert bool((clouds.std(dim=1) > 5).all())
    assert bool((clouds.mean(dim=1) > 20).all())


@pytest.mark.parametrize("sigma", [0.25, 0.4, 0.96, 6.4])
def test_the_gaussian_filter_is_that_of_scipy(sigma) -> None:
    images = torch.rand(2, 3, 11, 7, generator=torch.Generator().manual_seed(1))
    found = smoothed(images, sigma, reach=3)
    expected = ndimage.gaussian_filter(
        images.numpy(), (0, 0, sigma, sigma), mode="reflect", truncate=3
    )
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6)


def test_reading_between_and_beyond_pixels_is_that_of_scipy() -> None:
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(2, 3, 6, 9, generator=generator)
    rows, columns = torch.rand(2, 2, 5, 5, generator=generator) * 24 - 8
    found = read_at(images, rows, columns)
    for image in range(2):
        where = np.stack([rows[image].numpy(), columns[image].numpy()])
        for channel in range(3):
            # scipy's bilinear reflection bends half a pixel outside; pixels' own are mirrored.
            padded = np.pad(images[image, channel].numpy(), 20, mode="symmetric")
            expected = ndimage.map_coordinates(padded, where + 20, order=1)
            np.testing.assert_allclose(found[image, channel].numpy(), expected, atol=1e-5)


def test_zooming_by_one_is_the_identity_and_a_slope_becomes_flatter() -> None:
    slope = torch.arange(9.0).expand(1, 1, 9, 9)
    assert torch.equal(zoomed(slope, 1.0), slope)
    torch.testing.assert_close(zoomed(slope, 2.0), slope / 2 + 2)


def test_pixelation_is_pillows(tmp_path) -> None:
    images = random_images(count=1)
    image = Image.fromarray(images[0].permute(1, 2, 0).numpy())
    box = Image.Resampling.BOX
    expected = np.asarray(image.resize((24, 24), box).resize((32, 32), box))
    found = Pixelate(severity=4)(images)[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(found, expected)
