"""Attacks that climb the loss within an L-infinity ball, computed by torchattacks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torchattacks
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from detector.attacks.base import check_at_least
from detector.attacks.library import finite_or_original, library_seed
from detector.attacks.linf import IteratedAttack, LinfAttack

__all__ = ["ApgdCe", "Bim", "Fgsm", "Mim", "Pgd"]

_RELATIVE_STEP = 0.25
"""Step of the iterated attacks as a share of epsilon: ten of them cross the ball."""


@dataclass(frozen=True, kw_only=True)
class Fgsm(LinfAttack):
    """One step along the sign of the gradient.

    Reference:
        Goodfellow et al., "Explaining and Harnessing Adversarial Examples", ICLR 2015.
    """

    @override
    def _perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        attacked: Tensor = torchattacks.FGSM(model, eps=self.epsilon)(images, labels)
        return attacked


@dataclass(frozen=True, kw_only=True)
class Bim(IteratedAttack):
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
class Mim(IteratedAttack):
    """Steps along the sign of a running sum of gradients, which carries over to other networks.

    Reference:
        Dong et al., "Boosting Adversarial Attacks with Momentum", CVPR 2018.
    """

    @override
    def _perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        step = self.epsilon * _RELATIVE_STEP
        mim = torchattacks.MIFGSM(model, eps=self.epsilon, alpha=step, steps=self.steps)
        attacked: Tensor = mim(images, labels)
        return finite_or_original(attacked, images)


@dataclass(frozen=True, kw_only=True)
class Pgd(IteratedAttack):
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
        check_at_least("restarts", self.restarts, 1)

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
class ApgdCe(IteratedAttack):
    """Projected gradient descent with momentum on the cross-entropy that halves its step itself.

    Images for which it does not succeed come back as they were.

    Reference:
        Croce and Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
        Parameter-free Attacks", ICML 2020.
    """

    @override
    def _perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        apgd = torchattacks.APGD(
            model, eps=self.epsilon, steps=self.steps, seed=library_seed(), loss="ce"
        )
        attacked: Tensor = apgd(images, labels)
        return attacked


@torch.no_grad()
def _losses(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(model(images), labels, reduction="none")
