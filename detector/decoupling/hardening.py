"""What a recipe may add so that attacks find it harder to change classes and gates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from detector.decoupling.gates import Relaxed, StraightThrough
from detector.decoupling.network import DecoupledOutput

__all__ = [
    "Adversaries",
    "CopyConsistency",
    "GateMargin",
    "Hardening",
    "HardeningTerm",
    "shifted_by_one_pixel",
]

_NEAR_ZERO = StraightThrough()


@dataclass(frozen=True, kw_only=True, slots=True)
class Adversaries:
    r"""Training images that are attacked first, on the network as it stands at that step.

    .. math:: \min_\theta E \max_{\|\delta\|_\infty \le \epsilon} CE(f_\theta(x + \delta), t)

    The maximisation is projected gradient ascent from a random point of the ball. It sees the
    network as it is evaluated, without the noise of training in its gates.

    Args:
        epsilon: Largest change of a pixel value, in (0, 1] pixel scale.
        steps: Gradient steps of the maximisation, at least 1; together with the forward and
            backward pass of training they cost ``1 + share * steps`` ordinary steps.
        relative_step: Length of a step as a share of epsilon, positive; ``relative_step * steps``
            should be above 1, or corners of the ball are out of reach.
        share: Share of each batch that is attacked, in (0, 1]; the rest is seen as it is.
        through: How the attack's gradient passes the gates.

    Raises:
        ValueError: If a field is outside of its range.

    Reference:
        Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018.
    """

    epsilon: float = 8 / 255
    steps: int = 5
    relative_step: float = 0.5
    share: float = 1.0
    through: StraightThrough | Relaxed = _NEAR_ZERO

    def __post_init__(self) -> None:
        for name, value in (("epsilon", self.epsilon), ("share", self.share)):
            if not 0 < value <= 1:
                raise ValueError(f"{name} should lie in (0, 1]. Found {value:g}.")
        if self.steps < 1:
            raise ValueError(f"steps should be at least 1. Found {self.steps}.")
        if not self.relative_step > 0:
            raise ValueError(f"relative_step should be positive. Found {self.relative_step:g}.")


class HardeningTerm(ABC):
    """A term of the loss that keeps a decoupled network where it is under small changes."""

    weight: float

    @property
    @abstractmethod
    def name(self) -> str:
        """What the log calls it."""

    @property
    def sees_copies(self) -> bool:
        """Whether it needs the network's output for copies; they cost a second pass."""
        return False

    @abstractmethod
    def __call__(self, output: DecoupledOutput, copies: DecoupledOutput | None) -> Tensor:
        """The term before its weight, a scalar.

        Args:
            output: Of the images of a batch.
            copies: Of a copy of each image in the same order, for terms that see copies.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class GateMargin(HardeningTerm):
    r"""Gate logits keep away from zero, so that small changes do not flip gates.

    .. math:: mean_{b, g} \, \max(0, m - |y_{bg}|)

    Args:
        weight: How much it counts, not negative.
        margin: Distance m from zero at which a gate logit is left alone, positive.

    Raises:
        ValueError: If a field is outside of its range.
    """

    weight: float
    margin: float = 0.5

    def __post_init__(self) -> None:
        _check_weight(self.weight)
        if not self.margin > 0:
            raise ValueError(f"margin should be positive. Found {self.margin:g}.")

    @property
    @override
    def name(self) -> str:
        return "gate_margin"

    @override
    def __call__(self, output: DecoupledOutput, copies: DecoupledOutput | None) -> Tensor:
        return torch.relu(self.margin - _gate_logits(output).abs()).mean()


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyConsistency(HardeningTerm):
    r"""An image and its copy, moved by one pixel, get the same class probabilities and gates.

    .. math:: mean_b \left( KL(p \| p') + KL(p' \| p) \right)
              + \lambda \, mean_{b, g} \left( \sigma(y_{bg}) - \sigma(y'_{bg}) \right)^2

    The gate logits are compared behind a sigmoid: their plain difference would be smallest where
    all of them are near zero, and there gates flip most easily.

    Args:
        weight: How much it counts, not negative.
        gates: Weight lambda of the gates within it, not negative.

    Raises:
        ValueError: If a field is outside of its range.
    """

    weight: float
    gates: float = 1.0

    def __post_init__(self) -> None:
        _check_weight(self.weight)
        if not self.gates >= 0:
            raise ValueError(f"gates should not be negative. Found {self.gates:g}.")

    @property
    @override
    def name(self) -> str:
        return "copy_consistency"

    @property
    @override
    def sees_copies(self) -> bool:
        return True

    @override
    def __call__(self, output: DecoupledOutput, copies: DecoupledOutput | None) -> Tensor:
        if copies is None:
            raise TypeError("copies should be the output of a copy of each image. Found None.")
        return _symmetric_divergence(output.class_logits, copies.class_logits) + self.gates * (
            (_gate_logits(output).sigmoid() - _gate_logits(copies).sigmoid()).square().mean()
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardening:
    """What a recipe adds against attacks, each part by itself.

    Args:
        plain: Attacked images in the plain phase; None for none.
        decoupled: Attacked images in the phases after it; None for none.
        gate_margin: Keeps gate logits away from zero; None to leave them.
        consistency: Keeps classes and gates of copies together; None to leave them.

    Raises:
        ValueError: If there is no part at all.
    """

    plain: Adversaries | None = None
    decoupled: Adversaries | None = None
    gate_margin: GateMargin | None = None
    consistency: CopyConsistency | None = None

    def __post_init__(self) -> None:
        if not (self.plain or self.decoupled or self.terms):
            raise ValueError("A hardening should have at least one part. Found none.")

    @property
    def terms(self) -> tuple[HardeningTerm, ...]:
        """What is added to the loss of the decoupled network."""
        return tuple(term for term in (self.gate_margin, self.consistency) if term is not None)


def shifted_by_one_pixel(images: Tensor) -> Tensor:
    """Each image moved by one pixel, with the edge it leaves repeated, as `Shift` does it.

    The quarters of the batch go left, right, up and down. Batches come in a random order, so that
    each image goes each way in time and no random number is needed.

    Args:
        images: Preprocessed images, shape (B, 3, H, W).
    """
    height, width = images.shape[2:]
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    starts = ((1, 2), (1, 0), (2, 1), (0, 1))  # of the window, top and left
    moved = [
        quarter[..., top : top + height, left : left + width]
        for quarter, (top, left) in zip(padded.chunk(len(starts)), starts, strict=False)
    ]
    return torch.cat(moved)


def _symmetric_divergence(first: Tensor, second: Tensor) -> Tensor:
    one = functional.log_softmax(first.float(), dim=1)
    other = functional.log_softmax(second.float(), dim=1)
    return ((one.exp() - other.exp()) * (one - other)).sum(dim=1).mean()


def _gate_logits(output: DecoupledOutput) -> Tensor:
    return torch.cat([record.logits.float() for record in output.records], dim=1)  # (B, G)


def _check_weight(weight: float) -> None:
    if not weight >= 0:
        raise ValueError(f"weight should not be negative. Found {weight:g}.")
