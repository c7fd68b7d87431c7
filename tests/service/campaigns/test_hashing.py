"""What is remembered of an image: near for near images, secret to outsiders."""

from __future__ import annotations

import numpy as np
import pytest

from service.campaigns import QueryHasher
from service.campaigns.hashing import CELLS


def hasher(gates=672, side=32, key=b"key"):
    return QueryHasher(gates=gates, height=side, width=side, key=key)


def distance(one, other):
    return int(np.bitwise_count(one.path ^ other.path).sum())


@pytest.mark.parametrize("gates", [1, 8, 63, 64, 65, 672, 1024])
def test_up_to_1024_gates_hashes_differ_in_as_many_bits_as_paths_differ_in_gates(gates):
    rng = np.random.default_rng(gates)
    hashed = hasher(gates)
    pixels = np.zeros((3, 32, 32), dtype=np.uint8)
    one, other = rng.random((2, gates)) < 0.5
    assert distance(hashed(one, pixels), hashed(other, pixels)) == (one != other).sum()


def test_of_more_gates_the_differing_share_is_estimated_without_bias():
    rng = np.random.default_rng(0)
    gates, differing = 20_000, 600
    pixels = np.zeros((3, 32, 32), dtype=np.uint8)
    shares = []
    for i in range(200):
        hashed = hasher(gates, key=bytes([i]))
        one = rng.random(gates) < 0.5
        other = one.copy()
        other[rng.choice(gates, differing, replace=False)] ^= True
        shares.append(distance(hashed(one, pixels), hashed(other, pixels)) / 1024)
    share = differing / gates
    # Five standard errors of a mean of 200 shares of 1024 draws, below one failure in a million.
    tolerance = 5 * np.sqrt(share * (1 - share) / 1024 / 200)
    assert np.mean(shares) == pytest.approx(share, abs=tolerance)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (32, 32), (30, 45), (224, 224)])
def test_cells_are_the_means_of_their_part_of_the_image(height, width):
    rng = np.random.default_rng(0)
    # Each pixel as 4 x 4 equal ones: cells then have borders between pixels at every size.
    pixels = rng.integers(0, 256, (3, height, width), dtype=np.uint8)
    fine = pixels.repeat(4, axis=1).repeat(4, axis=2).astype(float)
    expected = fine.reshape(3, 4, height, 4, width).mean((2, 4))
    hashed = QueryHasher(gates=10, height=height, width=width, key=b"key")
    found = hashed(np.zeros(10, dtype=bool), pixels).thumbnail
    assert np.abs(found - expected.reshape(CELLS)).max() < 0.51


def test_one_changed_pixel_changes_the_digest_and_the_same_pixels_keep_it():
    pixels = np.full((3, 32, 32), 7, dtype=np.uint8)
    bits = np.zeros(672, dtype=bool)
    changed = pixels.copy()
    changed[0, 0, 0] += 1
    hashed = hasher()
    assert hashed(bits, pixels.copy()).digest == hashed(bits, pixels).digest
    assert hashed(bits, changed).digest != hashed(bits, pixels).digest


def test_a_view_of_an_image_is_hashed_as_its_copy():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    bits = np.zeros(672, dtype=bool)
    view = pixels.transpose(2, 0, 1)
    assert hasher()(bits, view).digest == hasher()(bits, view.copy()).digest


def test_another_key_draws_other_gates_and_gives_other_digests():
    rng = np.random.default_rng(0)
    bits, pixels = rng.random(5000) < 0.5, np.zeros((3, 32, 32), dtype=np.uint8)
    one, other = (hasher(5000, key=key)(bits, pixels) for key in (b"one", b"other"))
    assert one.digest != other.digest
    assert distance(one, other) > 300
