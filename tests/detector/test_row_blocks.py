"""Products in blocks: the same rows, the same bits, however many rows there are."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.nn import functional

from detector.row_blocks import (
    BLOCK,
    SCORING_BLOCK,
    in_blocks,
    padded_rows,
    scored_in_blocks,
    scored_rows,
)


@pytest.mark.parametrize("channels", [(16, 4), (64, 10), (512, 100)])
def test_a_row_has_the_same_bits_alone_and_at_any_place_among_others(channels):
    draws = torch.Generator().manual_seed(0)
    weight = torch.randn(channels[1], channels[0], generator=draws)
    rows = torch.randn(3 * BLOCK, channels[0], generator=draws)
    product = partial(functional.linear, weight=weight)
    whole = in_blocks(product, rows)
    torch.testing.assert_close(whole, product(rows), rtol=1e-4, atol=1e-4)
    for count in (1, 2, 3, 15, 16, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5):
        for start in (0, 7):
            part = in_blocks(product, rows[start : start + count])
            assert torch.equal(part, whole[start : start + count])


@pytest.mark.parametrize("channels", [(16, 4), (64, 10), (512, 100)])
def test_a_scored_row_has_the_same_bits_in_any_scoring(channels):
    draws = torch.Generator().manual_seed(0)
    weight = torch.randn(channels[1], channels[0], generator=draws)
    rows = torch.randn(SCORING_BLOCK, channels[0], generator=draws)
    product = partial(functional.linear, weight=weight)
    whole = scored_in_blocks(product, rows)
    torch.testing.assert_close(whole, product(rows), rtol=1e-4, atol=1e-4)
    for count in (1, 2, 3, 4, 5, 15, 16, 31):
        part = scored_in_blocks(product, rows[1 : 1 + count])
        assert torch.equal(part, whole[1 : 1 + count])


def test_more_rows_than_a_scoring_takes_are_one_product():
    shapes = []

    def product(rows):
        shapes.append(len(rows))
        return rows

    for count in (1, SCORING_BLOCK, SCORING_BLOCK + 1):
        scored_in_blocks(product, torch.zeros(count, 2))
    few = scored_rows(torch.device("cpu"))
    assert shapes == [few] * (1 + SCORING_BLOCK // few) + [SCORING_BLOCK + 1]


@pytest.mark.parametrize("count", [0, 1, BLOCK, BLOCK + 1])
def test_every_product_has_one_shape(count):
    shapes = []

    def product(block):
        shapes.append(tuple(block.shape))
        return block

    rows = torch.arange(count * 2.0).view(count, 2)
    assert torch.equal(in_blocks(product, rows), rows)
    assert set(shapes) <= {(BLOCK, 2)} or count == 0


def test_whole_blocks_are_filled_with_rows_that_are_there():
    rows = padded_rows(3, BLOCK, torch.device("cpu"))
    assert len(rows) == BLOCK
    assert rows[:5].tolist() == [0, 1, 2, 0, 1]
    assert len(padded_rows(BLOCK + 1, BLOCK, torch.device("cpu"))) == 2 * BLOCK
