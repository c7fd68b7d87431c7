"""What every attack has to keep; a subclass only computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

from detector.attacks.balls import Ball, Unbounded
from detector.errors import AttackError, InvalidInputError

__all__ = ["Attack", "attackable", "check_at_least", "check_epsilon"]

_TOLERANCE = 1e-6
"""What rounding in float32 may add to a bound, [0, 1] pixel scale; 1/4000 of an 8-bit step."""


class Attack(ABC):
    """Changes images so that a model mistakes them; an immutable description, free of state.

    The call checks what goes in and what comes out, holds the model in evaluation mode without
    gradients of its weights, and restores it also after an exception. Subclasses implement
    `_perturb` and, where they have an epsilon, `ball`.
    """

    follows_gradient: ClassVar[bool] = True
    """False where no gradient is read: one way through the gates of the model is enough."""

    is_benign: ClassVar[bool] = False
    """True for noise and corruptions: they do not look at the model and mean it no harm."""

    @property
    def ball(self) -> Ball:
        """Where the attacked images have to lie; everywhere, unless a subclass says otherwise."""
        return Unbounded()

    def __call__(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, seed: int = 0
    ) -> Tensor:
        """Attacked images.

        Args:
            model: Maps images in [0, 1] to class logits; it normalises them itself.
            images: Floats in [0, 1] of shape (B, 3, H, W).
            labels: True classes, int64 of shape (B,).
            seed: Fixes what is random; the global generators are left as they are.

        Returns:
            Floats in [0, 1], exactly, of the shape of the images and within the ball.

        Raises:
            InvalidInputError: If images or labels are not of this kind.
            AttackError: If the computation left the range, the ball or evaluation mode.
        """
        _check_inputs(images, labels)
        with attackable(model), _seeded(seed, images.device):
            attacked = self._perturb(model, images.detach().clone(), labels.clone()).detach()
            self._check_mode(model)
        self._check_output(attacked, images)
        return self.ball.project(attacked, images).clamp(0, 1)

    @abstractmethod
    def _perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """The attack itself; randomness comes from torch's global generator.

        Args:
            model: In evaluation mode; maps images in [0, 1] to class logits.
            images: Floats in [0, 1] of shape (B, 3, H, W); the attack may change them in place.
            labels: True classes, int64 of shape (B,).

        Returns:
            Images of the same shape; the caller checks and clips them.
        """

    def _check_mode(self, model: nn.Module) -> None:
        training = [name for name, module in model.named_modules() if module.training]
        if training:
            raise AttackError(
                f"{type(self).__name__} should leave the model in evaluation mode. "
                f"Found {len(training)} modules in training mode, as {training[0] or 'the model'}. "
                "Do not use its images: batch statistics have entered them."
            )

    def _check_output(self, attacked: Tensor, images: Tensor) -> None:
        name = type(self).__name__
        if attacked.shape != images.shape or attacked.dtype != images.dtype:
            raise AttackError(
                f"{name} should return {images.dtype} of shape {tuple(images.shape)}. "
                f"Found {attacked.dtype} of shape {tuple(attacked.shape)}."
            )
        if not bool(attacked.isfinite().all()):
            raise AttackError(f"{name} should return finite pixels. Found NaN or infinity.")
        low, high = (float(bound) for bound in attacked.aminmax())
        if low < -_TOLERANCE or high > 1 + _TOLERANCE:
            raise AttackError(f"{name} should return pixels in [0, 1]. Found {low:g}..{high:g}.")
        excess = self.ball.excess(attacked, images)
        if excess > _TOLERANCE:
            raise AttackError(
                f"{name} should stay within {self.ball}. Found pixels {excess:g} outside of it."
            )


@contextmanager
def attackable(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients of the weights, gradients of images allowed; all restored.

    Each module's mode is restored on its own: a model can be partly in training mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    weights = [(weight, weight.requires_grad) for weight in model.parameters()]
    model.eval()
    for weight, _ in weights:
        weight.requires_grad = False
    try:
        with torch.inference_mode(mode=False), torch.enable_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        for weight, requires_grad in weights:
            weight.requires_grad = requires_grad


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def check_epsilon(epsilon: float) -> None:
    """Refuse a radius that is not in [0, 1] pixel scale.

    Raises:
        InvalidInputError: If it is not.
    """
    if not 0 <= epsilon <= 1:
        raise InvalidInputError(
            f"epsilon should lie in [0, 1] pixel scale. Found {epsilon:g}. Write it as 8/255.",
            field="epsilon",
        )


def check_at_least(name: str, value: float, least: float) -> None:
    """Refuse an option that is too small, or no number.

    Raises:
        InvalidInputError: If it is.
    """
    if not value >= least:
        raise InvalidInputError(
            f"{name} should be at least {least:g}. Found {value:g}.", field=name
        )


def _check_inputs(images: Tensor, labels: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or not images.numel():
        raise InvalidInputError(
            "Images to attack should have shape (B, 3, H, W), none of them zero. "
            f"Found {tuple(images.shape)}.",
            field="images",
        )
    if images.dtype != torch.float32:
        raise InvalidInputError(
            f"Images to attack should be float32 in [0, 1]. Found {images.dtype}. "
            "Use Preprocessing.scale on uint8 images.",
            field="images",
        )
    low, high = (float(bound) for bound in images.aminmax())
    if not (low >= 0 and high <= 1):  # also refuses NaN
        raise InvalidInputError(
            f"Images to attack should lie in [0, 1]. Found {low:g}..{high:g}. "
            "Attack before normalisation, not after it.",
            field="images",
        )
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise InvalidInputError(
            f"Labels should be int64 of shape {tuple(images.shape[:1])}. "
            f"Found {labels.dtype} of shape {tuple(labels.shape)}.",
            field="labels",
        )
