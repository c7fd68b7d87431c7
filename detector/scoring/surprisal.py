"""How rare a value is among clean images: the common unit in which statistics are added."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor, nn

from detector.errors import CalibrationError

__all__ = ["Surprisal"]

_KNOTS = 65
_BEYOND = 10
"""Clean images beyond the last knot: fewer would leave its place to chance."""


class Surprisal(nn.Module):
    r"""Surprisal of each statistic, in nats: :math:`-\log P(X \ge x)` over clean images.

    Linear between quantiles that are evenly spaced in surprisal. Beyond the last of them it grows
    as :math:`\log(1 + (x - q) / e)`, with the mean excess e of clean images over q: the tail of a
    Pareto law, under which no single statistic drowns the others however far it goes, and which
    still has a slope: differences in the far tail count, and so does an attacker's gradient.

    A p-value by ranks is the same within the data; but it is flat between and beyond them.

    Args:
        statistics: Number of statistics, S.
    """

    knots: Tensor
    levels: Tensor
    excess: Tensor
    pieces: Tensor
    firsts: Tensor

    def __init__(self, statistics: int) -> None:
        super().__init__()
        self.register_buffer("knots", torch.zeros(statistics, _KNOTS))  # ascending in each row
        self.register_buffer("levels", torch.zeros(_KNOTS))  # ascending from 0
        self.register_buffer("excess", torch.ones(statistics))
        self.register_buffer("pieces", torch.zeros(0, 4), persistent=False)
        first = torch.arange(statistics).unsqueeze(1) * (1 + _KNOTS)
        self.register_buffer("firsts", first, persistent=False)
        self.register_load_state_dict_post_hook(_prepare)  # type: ignore[no-untyped-call] # torch's

    def fit(self, clean: Tensor) -> Self:
        """Learn how the statistics of clean images spread.

        Args:
            clean: Statistics of clean images on which nothing else was fitted, (M, S).

        Returns:
            The same object, fitted.

        Raises:
            ValueError: If there is not one column for each statistic.
            CalibrationError: If there is no image, or a value is not finite.
        """
        if clean.ndim != 2 or clean.shape[1] != len(self.knots):
            raise ValueError(
                f"Clean statistics should have {len(self.knots)} columns. "
                f"Found the shape {tuple(clean.shape)}."
            )
        bad = int((~clean.isfinite()).any(dim=1).sum())
        if not len(clean) or bad:
            raise CalibrationError(
                "Scores should be fitted on at least one clean image, with finite statistics. "
                f"Found {len(clean)} images, {bad} of them not finite. Extract more images, or "
                "train the network again."
            )
        images = len(clean)
        ordered = clean.to(torch.float64).sort(dim=0).values  # (M, S)
        beyond = min(_BEYOND, max(1, images // _BEYOND))
        levels = torch.linspace(0, math.log(images / beyond), _KNOTS, dtype=torch.float64)
        places = (images * (1 - torch.exp(-levels))).round().long().clamp(max=images - beyond)
        knots = ordered[places]  # (Q, S)
        excess = (ordered[images - beyond :] - knots[-1]).mean(dim=0)
        # A tail of equal values has no scale of its own: the spread of all serves.
        spread = ordered.std(dim=0, correction=0)
        least = 1e-3 * spread.clamp(min=1e-6)
        self.knots.copy_(knots.T)
        self.levels.copy_(levels)
        self.excess.copy_(torch.maximum(excess, least))
        _prepare(self)
        return self

    def forward(self, values: Tensor) -> Tensor:
        """Surprisal of each value.

        Args:
            values: Statistics, float of shape (B, S).

        Returns:
            Nats, at least 0, of shape (B, S); NaN where a value is. A value that many clean images
            share has the surprisal of reaching it, not of passing it.

        Raises:
            ValueError: If there is not one column for each statistic.
        """
        if values.ndim != 2 or values.shape[1] != len(self.knots):
            raise ValueError(
                f"Values should have {len(self.knots)} columns. "
                f"Found the shape {tuple(values.shape)}."
            )
        columns = values.T.contiguous()  # (S, B)
        place = torch.searchsorted(self.knots, columns.detach())  # first knot that is not below
        chosen = self.pieces.index_select(0, (place + self.firsts).view(-1))
        low, width, below, step = chosen.view(*columns.shape, 4).unbind(dim=2)
        share = ((columns - low) / width).clamp(0, 1)
        inside = torch.addcmul(below, share, step)
        far = (columns - self.knots[:, -1:]).clamp(min=0)
        surprisal: Tensor = (inside + torch.log1p(far / self.excess.unsqueeze(1))).T
        return surprisal


def _prepare(surprisal: Surprisal, _: object = None) -> None:
    """Lay out what a value needs by its place among the knots, all of it in one row.

    The first knot and its width, the surprisal there and how much it rises up to the second.
    """
    knots = surprisal.knots
    upper = torch.arange(1 + _KNOTS, device=knots.device).clamp(1, _KNOTS - 1)
    low = knots[:, upper - 1]
    width = (knots[:, upper] - low).clamp(min=torch.finfo(knots.dtype).tiny)
    below = surprisal.levels[upper - 1]
    step = surprisal.levels[upper] - below
    columns = (low, width, below.expand_as(low), step.expand_as(low))
    surprisal.pieces = torch.stack(columns, dim=2).view(-1, len(columns))
