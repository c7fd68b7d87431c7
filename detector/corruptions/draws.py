"""Random numbers that an image gets by its place, whatever is beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Draws"]


class Draws:
    """One stream of random numbers for each image of a batch; B images.

    Args:
        seed: Not negative.
        places: Place of each image, not negative: seed and place alone fix what it gets.
    """

    def __init__(self, seed: int, places: Iterable[int]) -> None:
        self._streams = [np.random.default_rng([seed, place]) for place in places]

    def __len__(self) -> int:
        return len(self._streams)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, float32 of shape (B, *shape)."""
        return self._stacked([stream.standard_normal(shape) for stream in self._streams])

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), float32 of shape (B, *shape)."""
        return self._stacked([stream.random(shape, np.float32) for stream in self._streams])

    def whole(self, low: int, high: int, *shape: int) -> Tensor:
        """Uniform whole numbers in low..high, both included, int64 of shape (B, *shape)."""
        drawn = [stream.integers(low, high, shape, endpoint=True) for stream in self._streams]
        return torch.from_numpy(np.stack(drawn))

    def poisson(self, means: Tensor) -> Tensor:
        """Poisson numbers of these means, (B, ...) -> (B, ...), float32."""
        pairs = zip(self._streams, means.numpy(), strict=True)
        return self._stacked([stream.poisson(mean) for stream, mean in pairs])

    def directions(self, low: float, high: float) -> tuple[Tensor, Tensor]:
        """Cosine and sine of a uniform angle between two, in degrees, each float32 of shape (B,).

        One by one: vectorised, a cosine's last bit depends on how many are computed at once.
        """
        angles = [math.radians(stream.uniform(low, high)) for stream in self._streams]
        cosines, sines = [math.cos(a) for a in angles], [math.sin(a) for a in angles]
        return torch.tensor(cosines), torch.tensor(sines)

    @staticmethod
    def _stacked(drawn: Sequence[NDArray[Any]]) -> Tensor:
        return torch.from_numpy(np.stack(drawn)).to(torch.float32)
