"""Descent that gives one of class and detector its turn without undoing the other.

Reference:
    Bryniarski et al., "Evading Adversarial Example Detection Defenses with Orthogonal Projected
    Gradient Descent", ICLR 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from detector.attacks.adaptive.chase import Chase
from detector.attacks.adaptive.descent import Descent, View

__all__ = ["OrthogonalPgd", "SelectivePgd", "orthogonal_to"]

_TINY = 1e-30
"""Added to norms: gradients that are all zero stay so."""


@dataclass(frozen=True, kw_only=True)
class SelectivePgd(Descent):
    """Follows the class until the image is misclassified, and the detector's score from then on.

    Each image has its turn of its own, and back it goes to the class if a step loses it. No weight
    between the two is needed.
    """

    @override
    def _direction(self, view: View, chase: Chase) -> Tensor:
        losses = view.hinge[view.missed].sum()
        if not bool(view.missed.all()):
            # Of these images alone: where a score is no number, the gradient of an image that
            # does not follow it would be none either.
            losses = losses + chase.target.smooth_score(view.seen[~view.missed]).sum()
        return view.gradient(losses).sign()


@dataclass(frozen=True, kw_only=True)
class OrthogonalPgd(Descent):
    """As `SelectivePgd`, but each step leaves the other loss as it is, to first order.

    What is followed is the part of the one gradient that is orthogonal to the other. Its sign
    would not be: the step is scaled so that pixels move by its length on average instead.
    """

    @override
    def _direction(self, view: View, chase: Chase) -> Tensor:
        scores = chase.target.smooth_score(view.seen)
        of_class = view.gradient(view.hinge, last=False)
        of_score = view.gradient(scores)
        missed = view.missed[:, None, None, None]
        wanted = torch.where(missed, of_class, of_score)
        other = torch.where(missed, of_score, of_class)
        step = orthogonal_to(wanted, other)
        return step / step.abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(_TINY)


def orthogonal_to(wanted: Tensor, other: Tensor) -> Tensor:
    r"""The part of one gradient that is orthogonal to another, image by image.

    .. math:: g - \frac{\langle g, h \rangle}{\langle h, h \rangle} h

    Args:
        wanted: Gradients g, shape (B, 3, H, W).
        other: Gradients h, of the same shape; where they are zero, g stays as it is.
    """
    # Unit vectors: squares of small gradients would vanish in 32 bits.
    unit = other / other.flatten(1).norm(dim=1).clamp_min(_TINY)[:, None, None, None]
    along = (wanted * unit).sum(dim=(1, 2, 3), keepdim=True)
    rest: Tensor = wanted - along * unit
    return rest
