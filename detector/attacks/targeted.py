"""Attacks that try the likeliest wrong classes one after the other, computed by torchattacks."""

from __future__ import annotations

from dataclasses import dataclass

import torchattacks
from torch import Tensor, nn
from typing_extensions import override

from detector.attacks.base import check_at_least
from detector.attacks.library import class_count, finite_or_original, library_seed
from detector.attacks.linf import IteratedAttack
from detector.errors import InvalidInputError

__all__ = ["ApgdT", "Fab"]

_LEAST_CLASSES = 4
"""The targeted difference of logits ratio divides by a sum over the four largest logits."""


@dataclass(frozen=True, kw_only=True)
class _TargetedAttack(IteratedAttack):
    """Several steps towards each of several classes.

    Args:
        epsilon: Largest change of a pixel value, in [0, 1] pixel scale.
        steps: Number of gradient steps towards each class, at least 1; AutoAttack takes 100.
        targets: Number of wrong classes that are tried, the likeliest first, at least 1. It bounds
            the time on networks of many classes; nine is AutoAttack's choice.
    """

    steps: int = 20
    targets: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("targets", self.targets, 1)

    def _tried(self, classes: int) -> int:
        """What torchattacks calls the number of classes: those it tries, and the true one."""
        return min(classes, self.targets + 1)


@dataclass(frozen=True, kw_only=True)
class ApgdT(_TargetedAttack):
    """APGD on the targeted difference of logits ratio, which does not change with their scale.

    Images for which it does not succeed come back as they were.

    Args:
        epsilon: Largest change of a pixel value, in [0, 1] pixel scale.
        steps: Number of gradient steps towards each class, at least 1; AutoAttack takes 100.
        targets: Number of wrong classes that are tried, the likeliest first, at least 1.

    Raises:
        InvalidInputError: From the call, if the model has fewer than four classes.

    Reference:
        Croce and Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
        Parameter-free Attacks", ICML 2020.
    """

    @override
    def _perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        classes = class_count(model, images)
        if classes < _LEAST_CLASSES:
            raise InvalidInputError(
                f"apgd-t should attack a network of at least {_LEAST_CLASSES} classes. "
                f"Found {classes}. Use apgd-ce.",
                field="attack",
            )
        apgd = torchattacks.APGDT(
            model,
            eps=self.epsilon,
            steps=self.steps,
            seed=library_seed(),
            n_classes=self._tried(classes),
        )
        attacked: Tensor = apgd(images, labels)
        return finite_or_original(attacked, images)


@dataclass(frozen=True, kw_only=True)
class Fab(_TargetedAttack):
    """Looks for the least L-infinity change along linearised boundaries, up to epsilon.

    Images for which it does not succeed come back as they were. Those for which it does lie on
    the decision boundary, so that many do not survive rounding to 8 bits; `Ddn` finds some that do.

    Args:
        epsilon: Largest change of a pixel value, in [0, 1] pixel scale.
        steps: Number of gradient steps towards each class, at least 1; AutoAttack takes 100.
        targets: Number of wrong classes that are tried, the likeliest first, at least 1.

    Reference:
        Croce and Hein, "Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary
        Attack", ICML 2020.
    """

    @override
    def _perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        # Without targets each step costs one backward pass for each class of the network.
        fab = torchattacks.FAB(
            model,
            eps=self.epsilon,
            steps=self.steps,
            seed=library_seed(),
            multi_targeted=True,
            n_classes=self._tried(class_count(model, images)),
        )
        attacked: Tensor = fab(images, labels)
        return finite_or_original(attacked, images)
