"""Corruptions of single values: Gaussian, shot and impulse noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from detector.corruptions.base import Corruption
from detector.corruptions.draws import Draws
from detector.corruptions.names import CorruptionName

__all__ = ["GaussianNoise", "ImpulseNoise", "ShotNoise"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GaussianNoise(Corruption):
    """Little light: x + c n, n standard normal, for each value by itself."""

    kind: ClassVar[CorruptionName] = CorruptionName.GAUSSIAN_NOISE

    @override
    def _corrupt(self, images: Tensor, draws: Draws) -> Tensor:
        deviation = self._level((0.04, 0.06, 0.08, 0.09, 0.10))
        return images + deviation * draws.normal(*images.shape[1:])


@dataclass(frozen=True, kw_only=True, slots=True)
class ShotNoise(Corruption):
    """Few photons: Poisson(c x) / c, where a white value would count c of them."""

    kind: ClassVar[CorruptionName] = CorruptionName.SHOT_NOISE

    @override
    def _corrupt(self, images: Tensor, draws: Draws) -> Tensor:
        photons = self._level((500, 250, 100, 75, 50))
        return draws.poisson(images * photons) / photons


@dataclass(frozen=True, kw_only=True, slots=True)
class ImpulseNoise(Corruption):
    """Bit errors, or salt and pepper: a share of all values becomes 0 or 1, as likely as not."""

    kind: ClassVar[CorruptionName] = CorruptionName.IMPULSE_NOISE

    @override
    def _corrupt(self, images: Tensor, draws: Draws) -> Tensor:
        share = self._level((0.01, 0.02, 0.03, 0.05, 0.07))
        drawn = draws.uniform(*images.shape[1:])
        peppered = torch.where(drawn < share / 2, 0.0, images)
        return torch.where(drawn >= 1 - share / 2, 1.0, peppered)
