"""A convolution of one image as products of matrices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Windows"]

_LARGEST_UNFOLDED = 2**18
"""About so many numbers of an unfolded map are in memory at once, 1 MiB: what lies in a core's own
cache is multiplied faster, and memory stays flat in the size of images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """Where the filters of a convolution look.

    Args:
        kernel: Height and width.
        stride: Of both.
        padding: Zeros on each side of both.
        dilation: Of both.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @property
    def is_point(self) -> bool:
        """Whether each place sees itself only, and all are kept."""
        return self.kernel == self.stride == (1, 1) and self.padding == (0, 0)

    @property
    def shares_rows(self) -> bool:
        """Whether what one row of the kernel sees is what another one sees further up."""
        return self.kernel[0] > 1 and self.stride[0] == 1

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what comes of a map."""
        seen_down = self.dilation[0] * (self.kernel[0] - 1) + 1
        seen_across = self.dilation[1] * (self.kernel[1] - 1) + 1
        return (
            (height + 2 * self.padding[0] - seen_down) // self.stride[0] + 1,
            (width + 2 * self.padding[1] - seen_across) // self.stride[1] + 1,
        )

    def convolution(self, kept: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
        """Filters of some channels, by the library.

        Args:
            kept: The channels, shape (1, C, H, W).
            weights: The filters, shape (F, C, kh, kw).
            bias: Shape (F,).

        Returns:
            Shape (1, F, H', W').
        """
        return functional.conv2d(kept, weights, bias, self.stride, self.padding, self.dilation)

    def product(self, kept: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
        """Filters of some channels: one product.

        Args:
            kept: The channels, shape (1, C, H, W), contiguous.
            weights: The filters, shape (F, C kh kw).
            bias: Shape (F,).

        Returns:
            Shape (1, F, H', W').
        """
        bias = bias.unsqueeze(1)
        _, channels, height, width = kept.shape
        if self.is_point:
            product = torch.addmm(bias, weights, kept.view(channels, -1))
            return product.view(1, -1, height, width)
        below, across = self.size(height, width)
        kept = self._padded(kept)
        product = kept.new_empty(len(weights), below * across)
        for first, rows in _bands(below, weights.shape[1] * across):
            seen = self._unfolded(kept, self.kernel[0], first, rows, across)
            columns = seen.reshape(-1, rows * across)
            place = product.narrow(1, first * across, rows * across)
            torch.addmm(bias, weights, columns, out=place)
        return product.view(1, -1, below, across)

    def product_by_rows(self, kept: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
        """The same, one product for each row of the kernel: less is unfolded.

        Args:
            kept: As above; `shares_rows` has to hold.
            weights: The filters, shape (F, kh, C kw).
            bias: Shape (F,).
        """
        bias = bias.unsqueeze(1)
        below, across = self.size(*kept.shape[2:])
        kept = self._padded(kept)
        product = kept.new_empty(len(weights), below * across)
        overlap = self.dilation[0] * (self.kernel[0] - 1)
        for first, rows in _bands(below, weights.shape[2] * across):
            seen = self._unfolded(kept, 1, first, rows + overlap, across)
            columns = seen.reshape(weights.shape[2], -1)
            place = product.narrow(1, first * across, rows * across)
            for row, of_row in enumerate(weights.unbind(1)):
                part = columns.narrow(1, row * self.dilation[0] * across, rows * across)
                if row:
                    place.addmm_(of_row, part)
                else:
                    torch.addmm(bias, of_row, part, out=place)
        return product.view(1, -1, below, across)

    def _padded(self, kept: Tensor) -> Tensor:
        vertical, horizontal = self.padding
        if not (vertical or horizontal):
            return kept
        return functional.pad(kept, (horizontal, horizontal, vertical, vertical))

    def _unfolded(
        self, padded: Tensor, kernel_rows: int, first: int, rows: int, across: int
    ) -> Tensor:
        """What so many rows of the kernel see at each place of some rows; nothing is copied.

        Returns:
            Shape (C, kernel_rows, kw, rows, across).
        """
        _, channel, row, column = padded.stride()
        down, right = self.stride
        return padded.as_strided(
            (padded.shape[1], kernel_rows, self.kernel[1], rows, across),
            (
                channel,
                row * self.dilation[0],
                column * self.dilation[1],
                row * down,
                column * right,
            ),
            padded.storage_offset() + first * down * row,
        )


def _bands(rows: int, numbers: int) -> Iterator[tuple[int, int]]:
    """First row and number of rows of bands that are as high as each other, up to one row.

    A thin last band would cost about as much as a whole one, since weights are laid out for each.

    Args:
        rows: Rows of the outcome.
        numbers: What is unfolded for each.
    """
    count = min(rows, max(1, round(rows * numbers / _LARGEST_UNFOLDED)))
    ends = [rows * band // count for band in range(count + 1)]
    for first, end in pairwise(ends):
        yield first, end - first
