"""From an image and its path to a few bytes that nearly identical images nearly share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CELLS", "Query", "QueryHasher"]

_MOST_GATES = 1024
_GRID = 4
_WORD_BITS = 64

CELLS = 3 * _GRID * _GRID
"""Cells of a thumbnail: a mean for each channel and each part of a 4 x 4 grid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """What is remembered of one image that was asked about.

    Args:
        path: Hash of the path: states of the sampled gates, uint64 of shape (W,), spare bits 0.
        thumbnail: Mean of each cell, rounded, uint8 of shape (`CELLS`,).
        digest: The same for the same pixels only, a number of 64 bits.
    """

    path: NDArray[np.uint64]
    thumbnail: NDArray[np.uint8]
    digest: int


class QueryHasher:
    r"""Hashes paths by bit sampling, the locality-sensitive hash of Hamming space.

    Of a path of :math:`G` gates the hash keeps :math:`S = \min(G, 1024)`, drawn once. The share in
    which two hashes differ is an unbiased estimate of the share in which their paths do, and exact
    where all gates are kept.

    Args:
        gates: Gates of the network, at least 1.
        height: Height of the network's input, pixels.
        width: Width of it, pixels.
        key: At most 64 bytes that callers do not know, so that nobody can make different images
            pass for duplicates, nor guess which gates were drawn.

    Reference:
        Indyk and Motwani, "Approximate Nearest Neighbors: Towards Removing the Curse of
        Dimensionality", STOC 1998.
    """

    def __init__(self, *, gates: int, height: int, width: int, key: bytes) -> None:
        self.sampled_gates = min(gates, _MOST_GATES)
        self.words = -(-self.sampled_gates // _WORD_BITS)
        drawn = np.random.default_rng(list(key)).choice(gates, self.sampled_gates, replace=False)
        self._drawn = np.sort(drawn)
        self._rows = _averages(height)
        self._columns = _averages(width).T
        self._key = key

    def __call__(self, bits: NDArray[np.bool_], pixels: NDArray[np.uint8]) -> Query:
        """What to remember of an image.

        Args:
            bits: True where a gate is open, shape (G,).
            pixels: The image at the network's input size, shape (3, H, W).
        """
        packed = np.zeros(self.words * 8, dtype=np.uint8)
        sampled = np.packbits(bits[self._drawn])
        packed[: len(sampled)] = sampled
        cells = self._rows @ pixels.astype(np.float32) @ self._columns  # (3, 4, 4)
        return Query(
            path=packed.view(np.uint64),
            thumbnail=np.rint(cells).astype(np.uint8).reshape(CELLS),
            digest=self.digest(pixels),
        )

    def digest(self, pixels: NDArray[np.uint8]) -> int:
        """A number of 64 bits, the same for the same pixels only.

        Args:
            pixels: The image at the network's input size, shape (3, H, W).
        """
        hashed = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=8, key=self._key)
        return int.from_bytes(hashed.digest(), "little")


def _averages(size: int) -> NDArray[np.float32]:
    """Weights that average pixels into the cells of one side of the grid, shape (4, size).

    A pixel across the border of two cells counts for both, by its parts.
    """
    edges = np.linspace(0, size, _GRID + 1)
    pixel = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    weights: NDArray[np.float32] = (np.clip(overlap, 0, None) * _GRID / size).astype(np.float32)
    return weights
