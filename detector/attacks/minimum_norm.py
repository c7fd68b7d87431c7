"""Attacks that look for the least change in L2 norm, computed by torchattacks.

Their images lie on the decision boundary, so that most of them do not survive rounding to 8 bits;
success has to be checked again after it. `detector.attacks.eight_bit` finds images that do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torchattacks
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from detector.attacks.base import Attack, check_at_least
from detector.attacks.library import finite_or_original

__all__ = ["CwL2", "DeepFool"]


class _Handicapped(nn.Module):
    """Class logits as CW needs them: positive, and the true class ahead by the confidence.

    torchattacks compares logits with the zeros of a one-hot mask, which is wrong for negative
    ones, and keeps the smallest change that succeeds by any margin, which ignores the confidence
    that it was asked for. Neither a shift nor a handicap of the true class moves the rest.
    """

    def __init__(self, model: nn.Module, labels: Tensor, confidence: float) -> None:
        super().__init__()
        self.model = model
        self.labels = labels
        self.confidence = confidence

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        handicap = self.confidence * functional.one_hot(self.labels, logits.shape[1])
        return logits - logits.detach().amin(dim=1, keepdim=True) + handicap


@dataclass(frozen=True, kw_only=True)
class CwL2(Attack):
    """Minimises the squared change plus a hinge on the logit margin.

    Args:
        confidence: Margin of the wrong class over the true one that counts as success, at least 0.
            Images that do not reach it come back as they were.
        trade_off: Weight of the hinge against the squared change, positive.
        steps: Number of Adam steps, at least 1. Confidences of 10 and more need some hundreds.
        learning_rate: Of Adam, in the space of the inverse tanh, positive.

    Reference:
        Carlini and Wagner, "Towards Evaluating the Robustness of Neural Networks", S&P 2017.
    """

    confidence: float = 0.0
    trade_off: float = 1.0
    steps: int = 50
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        check_at_least("confidence", self.confidence, 0)
        check_at_least("steps", self.steps, 1)
        check_at_least("trade_off", self.trade_off, 1e-6)
        check_at_least("learning_rate", self.learning_rate, 1e-6)

    @override
    def _perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        handicapped = _Handicapped(model, labels, self.confidence).eval()
        cw = torchattacks.CW(handicapped, c=self.trade_off, steps=self.steps, lr=self.learning_rate)
        attacked: Tensor = cw(images, labels)
        return attacked


@dataclass(frozen=True, kw_only=True)
class DeepFool(Attack):
    """Steps to the nearest boundary of the linearised network, image by image.

    Args:
        steps: Largest number of steps, at least 1.
        overshoot: How far a step goes beyond the boundary, as a share of it, at least 0.

    Reference:
        Moosavi-Dezfooli et al., "DeepFool: A Simple and Accurate Method to Fool Deep Neural
        Networks", CVPR 2016.
    """

    steps: int = 50
    overshoot: float = 0.02

    def __post_init__(self) -> None:
        check_at_least("steps", self.steps, 1)
        check_at_least("overshoot", self.overshoot, 0)

    @override
    def _perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        deepfool = torchattacks.DeepFool(model, steps=self.steps, overshoot=self.overshoot)
        attacked: Tensor = deepfool(images, labels)
        return finite_or_original(attacked, images)
