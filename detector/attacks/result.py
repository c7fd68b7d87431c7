"""What an attack came to: 8-bit images, judged by hard gates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from detector.attacks.base import attackable
from detector.attacks.model import AttackedModel
from detector.devices import exact_32_bit
from detector.errors import InvalidInputError

__all__ = ["AttackResult", "check_labels", "class_logits", "margins"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackResult:
    """Attacked images and what hard gates make of them, on the CPU.

    Args:
        images: What a PNG file would keep of the attacked images, uint8 of shape (B, 3, H, W).
        labels: True classes, int64 of shape (B,).
        original_prediction: Class predicted for the original images, int64 of shape (B,).
        prediction: Class predicted for `images`, int64 of shape (B,).
        margin: Logit of the best wrong class minus that of the true one, float of shape (B,).
        way: Index into `ways` of the way that gave each image, int64 of shape (B,).
        ways: Names of the ways through the gates that were tried.
    """

    images: Tensor
    labels: Tensor
    original_prediction: Tensor
    prediction: Tensor
    margin: Tensor
    way: Tensor
    ways: tuple[str, ...]

    @property
    def success(self) -> Tensor:
        """True where the network was right before and wrong after, bool of shape (B,)."""
        right_before = self.original_prediction == self.labels
        return right_before & (self.prediction != self.labels)


def class_logits(model: AttackedModel, images: Tensor) -> Tensor:
    """What hard gates say to 8-bit images, float of shape (B, K).

    Args:
        model: A network as an attacker sees it; its own way through the gates does not matter.
        images: uint8 images of shape (B, 3, H, W), on the network's device.
    """
    judge = AttackedModel(model.network, model.preprocessing)
    with attackable(judge), torch.no_grad(), exact_32_bit(images.device):
        logits: Tensor = judge(model.preprocessing.scale(images)).float()
        return logits


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of the best wrong class minus that of the true one, (B, K) -> (B,)."""
    true = logits.gather(1, labels[:, None])[:, 0]
    return logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1) - true


def check_labels(labels: Tensor, *, classes: int) -> None:
    """Refuse labels that are no classes of a network.

    Raises:
        InvalidInputError: If one of them is not.
    """
    low, high = (int(bound) for bound in labels.aminmax())
    if low < 0 or high >= classes:
        raise InvalidInputError(
            f"Labels should lie in 0..{classes - 1}, the classes of the network. "
            f"Found {low}..{high}.",
            field="labels",
        )
