"""A minimum-norm attack whose images survive rounding to 8 bits.

CW, DeepFool and FAB stop on the decision boundary in floats, and rounding puts most of their images
back on the right side of it. torchattacks has none that rounds while it searches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from detector.attacks.balls import to_eight_bits
from detector.attacks.base import Attack, check_at_least
from detector.attacks.model import with_hard_gates
from detector.devices import exact_32_bit

__all__ = ["Ddn"]

_FIRST_NORM = 1.0
"""L2 norm of the first step, in [0, 1] pixel scale, as in the paper."""

_NORM_CHANGE = 0.05
"""Share by which the norm shrinks after a success and grows after a failure, as in the paper."""


@dataclass(frozen=True, kw_only=True)
class Ddn(Attack):
    """Decouples the change's direction, a gradient's, from its norm, which success steers.

    Each candidate is rounded before hard gates judge it, and the smallest that fools them is kept;
    images for which there is none come back as they were. The paper rounds the running change as
    well. Here it stays in floats: late steps are smaller than half of an 8-bit step, and rounding
    would swallow them one by one instead of adding them up.

    Args:
        steps: Number of gradient steps, at least 1.

    Reference:
        Rony et al., "Decoupling Direction and Norm for Efficient Gradient-Based L2 Adversarial
        Attacks and Defenses", CVPR 2019.
    """

    steps: int = 100

    def __post_init__(self) -> None:
        check_at_least("steps", self.steps, 1)

    @override
    def _perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        best = images
        least = torch.full((len(images), 1, 1, 1), torch.inf, device=images.device)
        norm = torch.full_like(least, _FIRST_NORM)
        change = torch.zeros_like(images)
        for step in range(self.steps):
            candidates = to_eight_bits(images + change)
            gradient, fooled = _look(model, candidates, labels)
            size = _norms(candidates - images)
            better = fooled & (size < least)
            best, least = torch.where(better, candidates, best), torch.where(better, size, least)
            norm = norm * torch.where(fooled, 1 - _NORM_CHANGE, 1 + _NORM_CHANGE)
            change = change + _rate(step / self.steps) * _directions(gradient)
            change = change * norm / _norms(change).clamp_min(1e-12)
            change = (images + change).clamp(0, 1) - images
        return best


def _look(model: nn.Module, candidates: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of the loss, (B, 3, H, W), and where hard gates are fooled, bool (B, 1, 1, 1)."""
    candidates = candidates.detach().requires_grad_()  # the caller's own stay out of the graph
    # A candidate lies so near the boundary that TF32 and full floats can disagree about it.
    with exact_32_bit(candidates.device):
        logits: Tensor = model(candidates)
        loss = functional.cross_entropy(logits, labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, candidates)
        judge = with_hard_gates(model)
        if judge is not model:
            with torch.no_grad():
                logits = judge(candidates)
    return gradient, (logits.argmax(dim=1) != labels)[:, None, None, None]


def _directions(gradient: Tensor) -> Tensor:
    """Unit vectors, random ones where no gradient reaches the pixels."""
    norms = _norms(gradient)
    chance = torch.randn_like(gradient)
    return torch.where(norms > 0, gradient / norms.clamp_min(1e-38), chance / _norms(chance))


def _rate(done: float) -> float:
    """Length of a step, in [0, 1] pixel scale: from 1 down to 0.01 along a cosine."""
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2


def _norms(values: Tensor) -> Tensor:
    norms: Tensor = values.flatten(1).norm(dim=1)
    return norms[:, None, None, None]  # (B, 1, 1, 1)
