"""A feature map in flight, of which only the open channels exist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["Features", "GatedFeatures", "dense", "scattered"]


class Features:
    """A feature map of one image; the channels that are not kept are zero.

    Args:
        kept: The channels that are kept, contiguous, shape (1, C', H, W).
        channels: Number of all channels, C.
        open_channels: Which are kept, int64 of shape (C',), ascending; None where all are.
        means: Means over height and width where they are known, shape (C,).
    """

    __slots__ = ("_means", "channels", "kept", "open_channels")

    def __init__(
        self,
        kept: Tensor,
        channels: int,
        open_channels: Tensor | None = None,
        means: Tensor | None = None,
    ) -> None:
        self.kept = kept
        self.channels = channels
        self.open_channels = open_channels
        self._means = means

    @classmethod
    def of(cls, value: Features | Tensor) -> Features:
        """A feature map of all channels, (1, C, H, W), where it is none yet."""
        if isinstance(value, Features):
            return value
        return Features(value.contiguous(), value.shape[1])

    @classmethod
    def concatenated(cls, parts: Sequence[Features]) -> Features:
        """Maps of one height and width, channel behind channel."""
        kept = torch.cat([part.kept for part in parts], dim=1)
        channels = sum(part.channels for part in parts)
        if all(part.open_channels is None for part in parts):
            return Features(kept, channels)
        places, before = [], 0
        for part in parts:
            opened = part.open_channels
            if opened is None:
                opened = torch.arange(part.channels, device=kept.device)
            places.append(opened + before)
            before += part.channels
        return Features(kept, channels, torch.cat(places))

    def dense(self) -> Tensor:
        """All channels, shape (1, C, H, W)."""
        if self.open_channels is None:
            return self.kept
        _, _, height, width = self.kept.shape
        every = self.kept.new_zeros(1, self.channels, height, width)
        return every.index_copy_(1, self.open_channels, self.kept)

    def means(self) -> Tensor:
        """Mean of each channel over height and width, shape (C,)."""
        if self._means is None:
            self._means = scattered(
                self.kept.mean(dim=(2, 3)).squeeze(0), self.channels, self.open_channels
            )
        return self._means

    def with_kept(self, kept: Tensor) -> Features:
        """What became of the same channels, zero channels having stayed zero."""
        return Features(kept, self.channels, self.open_channels)

    def plus(self, other: Features, over: tuple[bool, bool] = (False, False)) -> Features:
        """The sum with a map of the same shape; it has all channels.

        Args:
            other: That map.
            over: Whether this one and the other may be written over.
        """
        if other.open_channels is None:
            if self.open_channels is None:
                return Features(self.kept + other.kept, self.channels)
            return other.plus(self, (over[1], over[0]))
        total = self.dense()
        if total is self.kept and not over[0]:
            total = total.clone()
        return Features(total.index_add_(1, other.open_channels, other.kept), self.channels)


class GatedFeatures(Features):
    """What a gated layer gave.

    Args:
        kept: See `Features`.
        open_channels: See `Features`.
        means: See `Features`.
        logits: The layer's gate logits, shape (C,).
    """

    __slots__ = ("logits",)

    def __init__(
        self, kept: Tensor, open_channels: Tensor, *, means: Tensor, logits: Tensor
    ) -> None:
        super().__init__(kept, len(logits), open_channels, means)
        self.logits = logits


def scattered(values: Tensor, size: int, places: Tensor | None) -> Tensor:
    """A vector of zeros with some values in their places."""
    if places is None:
        return values
    return torch.zeros(size, dtype=values.dtype, device=values.device).index_copy_(
        0, places, values
    )


def dense(value: Any) -> Any:
    """A value as the network itself would see it."""
    return value.dense() if isinstance(value, Features) else value
