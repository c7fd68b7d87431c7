"""Attacks that climb the loss within an L-infinity ball, computed by torchattacks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torchattacks
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from detector.attacks.balls import Ball, LinfBall
from detector.attacks.base import Attack, check_epsilon
from detector.errors import InvalidInputError

__all__ = ["ApgdCe", "Bim", "Fgsm", "Pgd"]

_RELATIVE_STEP = 0.25
"""Step of the iterated attacks as a share of epsilon: ten of them cross the ball."""


@dataclass(frozen=True, kw_only=True)
class _LinfAttack(Attack):
    """An attack whose images differ by at most epsilon in each pixel value.

    Args:
        epsilon: Largest change of a pixel value, in [0, 1] pixel scale.
    """

    epsilon: float

    def __post_init__(self) -> None:
        check_epsilon(self.epsilon)

    @property
    @override
    def ball(self) -> Ball:
        return LinfBall(self.epsilon)


@dataclass(frozen=True, kw_only=True)
class Fgsm(_LinfAttack):
    """One step along the sign of the gradient.

    Reference:
        Goodfellow et al., "Explaining and Harnessing Adversarial Examples", ICLR 2015.
    """

    @override
    def _perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        attacked: Tensor = torchattacks.FGSM(model, eps=self.epsilon)(images, labels)
        return attacked


@dataclass(frozen=True, kw_only=True)
class _IteratedAttack(_LinfAttack):
    """Several steps.

    Args:
        epsilon: Largest change of a pixel value, in [0, 1] pixel scale.
        steps: Number of gradient steps, at least 1.
    """

    steps: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive("steps", self.steps)


@dataclass(frozen=True, kw_only=True)
class Bim(_IteratedAttack):
    """Steps along the sign of the gradient, from the image itself.

    Reference:
        Kurakin et al., "Adversarial Examples in the Physical World", 2017.
    """

    @override
    def _perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        step = self.epsilon * _RELATIVE_STEP
        bim = torchattacks.BIM(model, eps=self.epsilon, alpha=step, steps=self.steps)
        attacked: Tensor = bim(images, labels)
        return attacked


@dataclass(frozen=True, kw_only=True)
class Pgd(_IteratedAttack):
    """Steps along the sign of the gradient, from random points of the ball.

    Args:
        epsilon: Largest change of a pixel value, in [0, 1] pixel scale.
        steps: Number of gradient steps of each start, at least 1.
        restarts: Number of random starts; the image with the highest loss is kept.

    Reference:
        Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018.
    """

    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive("restarts", self.restarts)

    @override
    def _perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        step = self.epsilon * _RELATIVE_STEP
        pgd = torchattacks.PGD(model, eps=self.epsilon, alpha=step, steps=self.steps)
        best: Tensor = pgd(images, labels)
        for _ in range(self.restarts - 1):
            other: Tensor = pgd(images, labels)
            better = _losses(model, other, labels) > _losses(model, best, labels)  # (B,)
            best = torch.where(better[:, None, None, None], other, best)
        return best


@dataclass(frozen=True, kw_only=True)
class ApgdCe(_IteratedAttack):
    """Projected gradient descent with momentum on the cross-entropy that halves its step itself.

    Images for which it does not succeed come back as they were.

    Reference:
        Croce and Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
        Parameter-free Attacks", ICML 2020.
    """

    @override
    def _perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        # torchattacks seeds the global generator here once more, with a constant by default.
        seed = int(torch.randint(2**31, ()))
        apgd = torchattacks.APGD(model, eps=self.epsilon, steps=self.steps, seed=seed, loss="ce")
        attacked: Tensor = apgd(images, labels)
        return attacked


@torch.no_grad()
def _losses(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(model(images), labels, reduction="none")


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise InvalidInputError(f"{name} should be at least 1. Found {value}.", field=name)
