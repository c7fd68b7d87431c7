"""A corruption that bends images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from detector.corruptions.base import Corruption
from detector.corruptions.draws import Draws
from detector.corruptions.names import CorruptionName
from detector.corruptions.sampling import read_at, smoothed

__all__ = ["ElasticTransform"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ElasticTransform(Corruption):
    """A sheet that is pulled at: a random affine map, then random shifts that vary smoothly.

    All lengths are shares of the shorter side. The published severities bend more and more but
    pull the whole image less and less: in pixels the first can be further away than the last.
    """

    kind: ClassVar[CorruptionName] = CorruptionName.ELASTIC_TRANSFORM

    @override
    def _corrupt(self, images: Tensor, draws: Draws) -> Tensor:
        # Strength and smoothness of the shifts; how far the affine map moves three points.
        strength, sigma, pull = self._level(
            (
                (0.0, 0.0, 0.08),
                (0.05, 0.2, 0.07),
                (0.08, 0.06, 0.06),
                (0.1, 0.04, 0.05),
                (0.1, 0.03, 0.03),
            )
        )
        height, width = images.shape[2:]
        side = min(height, width)
        pulled = read_at(images, *_affine(draws, height, width, pull * side))
        if not strength:
            return pulled
        shifts = 2 * draws.uniform(2, height, width) - 1
        shifts = strength * side * smoothed(shifts, sigma * side, reach=3)
        rows, columns = torch.arange(height).view(-1, 1), torch.arange(width)
        return read_at(pulled, rows + shifts[:, 0], columns + shifts[:, 1])


def _affine(draws: Draws, height: int, width: int, most: float) -> tuple[Tensor, Tensor]:
    """Where each pixel comes from under a random affine map, rows and columns (B, H, W).

    Three corners of a square of two thirds of the side move by up to so many pixels each way.
    """
    reach = max(1, min(height, width) // 3)
    moved = most * (2 * draws.uniform(3, 2) - 1)  # which corner; down and across
    below_right, above_right, above_left = (corner.view(-1, 2, 1, 1) for corner in moved.unbind(1))
    # The square's corners lie at (1, 1), (-1, 1) and (-1, -1) in units of its half side.
    by_row, by_column = (below_right - above_right) / 2, (above_right - above_left) / 2
    offset = below_right - by_row - by_column  # (B, 2, 1, 1), as the two before it
    by_row, by_column = by_row / reach, by_column / reach
    down = torch.arange(height).view(-1, 1) - height // 2 - offset[:, 0]
    across = torch.arange(width) - width // 2 - offset[:, 1]
    # The map is 1 + [by_row, by_column]; each pixel comes from where its inverse leads.
    a, b, c, d = 1 + by_row[:, 0], by_column[:, 0], by_row[:, 1], 1 + by_column[:, 1]
    area = a * d - b * c
    rows, columns = (d * down - b * across) / area, (a * across - c * down) / area
    return rows + height // 2, columns + width // 2
