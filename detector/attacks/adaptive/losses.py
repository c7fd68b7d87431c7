"""What an adaptive attacker brings down: the margin of the class and the score of the detector."""

from __future__ import annotations

from torch import Tensor

from detector.attacks.result import margins
from detector.paths import PathLayout
from detector.scoring.blocks import layer_indicator

__all__ = ["class_hinge", "excess", "guide_distance"]


def class_hinge(
    logits: Tensor, labels: Tensor, goals: Tensor | None = None, *, kappa: float = 0.0
) -> Tensor:
    r"""How far an image is from being misclassified; negative where it is, by more than kappa.

    .. math:: \max_{j \ne t} z_j - z_t + \kappa

    for a goal t; without one :math:`z_y - \max_{j \ne y} z_j + \kappa`, y being the true class.

    Args:
        logits: Class logits z, shape (B, K).
        labels: True classes, int64 of shape (B,).
        goals: Wrong classes to reach, int64 of shape (B,); any wrong class by default.
        kappa: Margin that is asked for, in units of the logits, not negative.

    Returns:
        Shape (B,).

    Reference:
        Carlini and Wagner, "Towards Evaluating the Robustness of Neural Networks", 2017.
    """
    hinge = -margins(logits, labels) if goals is None else margins(logits, goals)
    return hinge + kappa


def excess(scores: Tensor, predicted: Tensor, largest: Tensor) -> Tensor:
    """How far a score lies above what its predicted class allows, (B,).

    Args:
        scores: Higher is more suspicious, shape (B,).
        predicted: Predicted classes, int64 of shape (B,).
        largest: Largest score of each class that is not flagged, shape (K,).

    Returns:
        Positive where flagged; infinite where the score is not a number, for such images are not
        let through.
    """
    found = scores - largest.to(scores.device, scores.dtype)[predicted]
    return found.masked_fill(~scores.isfinite(), float("inf"))


def guide_distance(
    gate_logits: Tensor, guides: Tensor, layout: PathLayout, *, kappa: float = 0.0
) -> Tensor:
    r"""How far gates are from the states that a guide's gates have.

    .. math:: \sum_l \frac{1}{C_l} \sum_i relu(\kappa - s_{li} y_{li})

    A hinge on the logits before they are made binary: nothing is spent on gates that match.

    Args:
        gate_logits: Gate logits y, shape (B, G).
        guides: States s to reach, 1 for open and -1 for closed, shape (B, G).
        layout: Which gates belong to which layer, C_l of them to layer l.
        kappa: How far beyond zero each logit should be, not negative.

    Returns:
        Shape (B,).
    """
    missing = (kappa - guides * gate_logits).clamp_min(0)
    shares = layer_indicator(layout).to(missing)
    return (missing @ (shares / shares.sum(dim=0))).sum(dim=1)
