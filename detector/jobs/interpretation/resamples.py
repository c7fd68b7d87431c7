"""Resamples of images, as weights of their mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["resample_weights"]


def resample_weights(
    size: int, resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Weights of each of some images in each resample, each row with the sum 1, (R, size).

    Args:
        size: Number of images, positive.
        resamples: Number of resamples, R.
        generator: What they are drawn with.

    Reference:
        Efron, "Bootstrap methods: another look at the jackknife", 1979.
    """
    even = np.full(size, 1 / size)
    return generator.multinomial(size, even, size=resamples) / size
