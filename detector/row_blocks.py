"""Matrix products that give a row the same numbers whatever rows stand beside it.

Libraries choose the kernel of a product by its number of rows: one row, a few and many add up in
different orders, and an image alone would get other last bits than the same image in a batch.
Computed in blocks of one size, every product has one shape, and so one kernel.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["BLOCK", "SCORING_BLOCK", "in_blocks", "padded_rows", "scored_in_blocks", "scored_rows"]

BLOCK = 16
"""Rows of every product. What a single image pays for the others is little beside the convolutions,
which see no padding; with fewer rows, large batches would pay for many small products."""

SCORING_BLOCK = 32
"""Most rows of one scoring: the server's largest batch."""

_SCORED_TOGETHER = 8
"""Rows of a product of a scoring, on CPUs. One image pays for all of them; 32 pay for four small
products, which is little beside the many operations that they share."""


def in_blocks(product: Callable[[Tensor], Tensor], rows: Tensor, block: int = BLOCK) -> Tensor:
    """Apply a function of rows to blocks of so many of them; zeros fill the last one.

    Args:
        product: Maps ``(block, C)`` to ``(block, D)``, each row by itself.
        rows: What it is applied to, shape (B, C).
        block: Rows of a block.

    Returns:
        The results, shape (B, D).
    """
    count = len(rows)
    missing = -count % block
    if missing:
        rows = torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])])
    if len(rows) == block:
        found = product(rows)
    else:
        found = torch.cat([product(part) for part in torch.split(rows, block)])
    return found[:count] if missing else found


def scored_rows(device: torch.device) -> int:
    """Rows of which a scoring takes a multiple, so that each row's numbers are its own.

    On CPUs only products hang on the number of rows. On GPUs sums do so as well, and a few rows
    cost as much as many.

    Args:
        device: Where the scoring is done.
    """
    return _SCORED_TOGETHER if device.type == "cpu" else SCORING_BLOCK


def scored_in_blocks(product: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Apply a function of rows as a scoring does: up to `SCORING_BLOCK` of them in small blocks.

    More at once, as in training and evaluation, are one product: nobody holds their last bits
    against those of another batch.

    Args:
        product: Maps ``(B, C)`` to ``(B, D)``, each row by itself.
        rows: What it is applied to, shape (B, C).
    """
    if len(rows) > SCORING_BLOCK:
        return product(rows)
    return in_blocks(product, rows, scored_rows(rows.device))


def padded_rows(count: int, block: int, device: torch.device) -> Tensor:
    """Indices of so many rows and, behind them, of the first again up to whole blocks.

    Args:
        count: Number of rows, at least 1.
        block: Size of a block.
        device: Where the indices are needed.
    """
    return torch.arange(count + -count % block, device=device) % count
