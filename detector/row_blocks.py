"""Matrix products that give a row the same numbers whatever rows stand beside it.

Libraries choose the kernel of a product by its number of rows: one row, a few and many add up in
different orders, and an image alone would get other last bits than the same image in a batch.
Computed in blocks of one size, every product has one shape, and so one kernel.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["BLOCK", "SCORING_BLOCK", "in_blocks", "padded_rows"]

BLOCK = 16
"""Rows of every product. What a single image pays for the others is little beside the convolutions,
which see no padding; with fewer rows, large batches would pay for many small products."""

SCORING_BLOCK = 32
"""Rows of one scoring, whatever the batch: the server's largest batch, and for one image hardly
dearer than a single row, as scoring is many small operations."""


def in_blocks(product: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Apply a function of rows to blocks of `BLOCK` of them; zeros fill the last one.

    Args:
        product: Maps ``(BLOCK, C)`` to ``(BLOCK, D)``, each row by itself.
        rows: What it is applied to, shape (B, C).

    Returns:
        The results, shape (B, D).
    """
    count = len(rows)
    missing = -count % BLOCK
    if missing:
        rows = torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])])
    if len(rows) == BLOCK:
        return product(rows)[:count]
    return torch.cat([product(block) for block in torch.split(rows, BLOCK)])[:count]


def padded_rows(count: int, block: int, device: torch.device) -> Tensor:
    """Indices of so many rows and, behind them, of the first again up to whole blocks.

    Args:
        count: Number of rows, at least 1.
        block: Size of a block.
        device: Where the indices are needed.
    """
    return torch.arange(count + -count % block, device=device) % count
