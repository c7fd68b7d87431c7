"""Attacks within a step of training, and how a network holds out against them meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from detector.attacks.base import attackable, check_at_least
from detector.attacks.linf import IteratedAttack
from detector.attacks.model import AttackedModel, with_hard_gates
from detector.data import FitImages
from detector.decoupling import Adversaries
from detector.preprocessing import Preprocessing

__all__ = ["InnerAttack", "attacked_accuracy", "with_adversaries"]

_MONITORED_IMAGES = 200
_MONITORED_BATCH = 50
_MONITORED_STEPS = 10
_MONITORED_RELATIVE_STEP = 0.25


@dataclass(frozen=True, kw_only=True)
class InnerAttack(IteratedAttack):
    """Projected gradient ascent on the cross-entropy, from a random point of the ball.

    As `detector.attacks.Pgd`, but with a step to choose: few steps have to be long ones.

    Args:
        epsilon: Largest change of a pixel value, in [0, 1] pixel scale.
        steps: Number of gradient steps, at least 1.
        relative_step: Length of a step as a share of epsilon, not negative.
    """

    relative_step: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("relative_step", self.relative_step, 0)

    @override
    def _perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        step = self.epsilon * self.relative_step
        start = torch.empty_like(images).uniform_(-self.epsilon, self.epsilon)
        attacked = self._within(images + start, images)
        for _ in range(self.steps):
            attacked.requires_grad_()
            loss = functional.cross_entropy(model(attacked).float(), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, attacked)
            attacked = self._within(attacked.detach() + step * gradient.sign(), images)
        return attacked

    def _within(self, attacked: Tensor, images: Tensor) -> Tensor:
        return self.ball.project(attacked, images).clamp(0, 1)


def with_adversaries(
    network: nn.Module,
    pixels: Tensor,
    targets: Tensor,
    adversaries: Adversaries,
    preprocessing: Preprocessing,
    *,
    seed: int,
) -> Tensor:
    """A batch in which the first images are attacked, as many as the share says, and one at least.

    Args:
        network: The network that is trained; its mode and its gradients are left as they were.
        pixels: Preprocessed images, shape (B, 3, H, W); left as they are.
        targets: Their classes, int64 of shape (B,).
        adversaries: What is done to them.
        preprocessing: What made the pixels.
        seed: Fixes the random starts; the global generators are left as they are.

    Returns:
        Preprocessed images of the same shape.
    """
    count = max(1, round(adversaries.share * len(pixels)))
    attack = InnerAttack(
        epsilon=adversaries.epsilon,
        steps=adversaries.steps,
        relative_step=adversaries.relative_step,
    )
    attacked = attack(
        AttackedModel(network, preprocessing, adversaries.through),
        preprocessing.denormalise(pixels[:count]),
        targets[:count],
        seed=seed,
    )
    return torch.cat([preprocessing.normalise(attacked), pixels[count:]])


def attacked_accuracy(
    network: nn.Module,
    images: FitImages,
    preprocessing: Preprocessing,
    adversaries: Adversaries,
    device: torch.device,
) -> float:
    """Share of some fixed images that are classified correctly when they are attacked.

    Ten steps of the attack that the network is trained on: a figure to watch training by. What the
    network withstands is for `offpath extract` to say, with stronger attacks.

    Args:
        network: Plain or decoupled; its mode is left as it was.
        images: The split to take images of, evenly spread and 200 at most.
        preprocessing: How they become the network's input.
        adversaries: Epsilon, and the way through the gates.
        device: Where the network is.
    """
    rows = np.unique(np.linspace(0, len(images) - 1, min(len(images), _MONITORED_IMAGES)).round())
    chosen = [int(row) for row in rows]
    model = AttackedModel(network, preprocessing, adversaries.through)
    correct = 0
    for start in range(0, len(chosen), _MONITORED_BATCH):
        batch = chosen[start : start + _MONITORED_BATCH]
        clean = preprocessing.scale(images.read(batch, preprocessing)).to(device)
        labels = torch.from_numpy(images.labels[batch]).to(device)
        correct += _withstood(model, clean, labels, adversaries.epsilon)
    return correct / len(chosen)


def _withstood(model: AttackedModel, images: Tensor, labels: Tensor, epsilon: float) -> int:
    """How many images are classified correctly by the network that is served, when attacked."""
    attack = InnerAttack(
        epsilon=epsilon, steps=_MONITORED_STEPS, relative_step=_MONITORED_RELATIVE_STEP
    )
    attacked = attack(model, images, labels)
    with attackable(model), torch.no_grad():
        predicted = with_hard_gates(model)(attacked).argmax(dim=1)
    return int((predicted == labels).sum())
