"""Random changes of an attack's norm: what a detector of attacks should not flag.

They share the attacks' code path, so that a table treats clean, noisy and attacked images alike,
but they do not look at the network and are not expected to fool it.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from detector.attacks.balls import Ball, LinfBall, RmsBall
from detector.attacks.base import Attack, check_epsilon

__all__ = ["GaussianNoise", "SignNoise", "UniformNoise"]


@dataclass(frozen=True, kw_only=True)
class _Noise(Attack):
    """Noise whose strength is an epsilon.

    Args:
        epsilon: Strength in [0, 1] pixel scale.
    """

    epsilon: float

    follows_gradient: ClassVar[bool] = False
    is_benign: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_epsilon(self.epsilon)

    @property
    @override
    def ball(self) -> Ball:
        return LinfBall(self.epsilon)

    @override
    def _perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return (images + self.epsilon * self._direction(images)).clamp(0, 1)

    @abstractmethod
    def _direction(self, images: Tensor) -> Tensor:
        """Noise of strength 1 and of the shape of the images."""


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(_Noise):
    """Normal noise, scaled so that its root mean square over each image is epsilon.

    Its L2 norm is that of `SignNoise`; single pixels change by more.
    """

    @property
    @override
    def ball(self) -> Ball:
        return RmsBall(self.epsilon)

    @override
    def _direction(self, images: Tensor) -> Tensor:
        noise = torch.randn_like(images)
        return noise / noise.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()


@dataclass(frozen=True, kw_only=True)
class UniformNoise(_Noise):
    """Each pixel value changes by a uniform amount in [-epsilon, epsilon]."""

    @override
    def _direction(self, images: Tensor) -> Tensor:
        return torch.rand_like(images) * 2 - 1


@dataclass(frozen=True, kw_only=True)
class SignNoise(_Noise):
    """Each pixel value changes by epsilon, up or down: a random corner of the attacks' ball."""

    @override
    def _direction(self, images: Tensor) -> Tensor:
        return torch.randint(0, 2, images.shape, device=images.device).to(images.dtype) * 2 - 1
