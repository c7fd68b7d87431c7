"""The strongest of several ways through the gates, image by image, as 8-bit images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detector.attacks.balls import Unbounded
from detector.attacks.base import Attack
from detector.attacks.model import DEFAULT_WAYS, AttackedModel, way_name
from detector.attacks.result import AttackResult, check_labels, class_logits, margins
from detector.decoupling import Binariser, DecoupledNetwork, Frozen, is_always_open
from detector.errors import InvalidInputError
from detector.preprocessing import Preprocessing

__all__ = ["StrongestOf", "attack_images"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidates:
    """Images that one way gave, and how strong they are."""

    images: Tensor
    prediction: Tensor
    margin: Tensor
    fooled: Tensor
    strength: Tensor

    def stronger_than(self, other: _Candidates) -> Tensor:
        """Success comes first, then strength; bool of shape (B,)."""
        return (self.fooled & ~other.fooled) | (
            (self.fooled == other.fooled) & (self.strength > other.strength)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class StrongestOf:
    """Attacks in several ways, rounds to 8 bits, checks with hard gates, keeps the strongest.

    Hard gates mask gradients, and no single way around them is the best for every image. Among
    successful images the stronger one has the larger margin or, for an attack that looks for
    the least change, the smaller change.

    Args:
        ways: Ways through the gates, at least one. Networks without gates, or with gates that
            never close, are attacked once, and so is any network where no gradient is followed.
    """

    ways: tuple[Binariser, ...] = DEFAULT_WAYS

    def __post_init__(self) -> None:
        if not self.ways:
            raise ValueError("StrongestOf should be given at least one way. Found none.")

    def __call__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        images: Tensor,
        labels: Tensor,
        attack: Attack,
        *,
        seed: int = 0,
    ) -> AttackResult:
        """Attack one batch.

        Args:
            network: A decoupled network, or any network that returns class logits.
            preprocessing: How images become the network's input.
            images: uint8 images of the network's input size, shape (B, 3, H, W).
            labels: True classes, int64 of shape (B,).
            attack: What is done to them.
            seed: Fixes what is random.

        Raises:
            InvalidInputError: If images or labels are not of this kind.
            AttackError: If the attack broke a property that it has to keep.
        """
        if images.dtype != torch.uint8:
            raise InvalidInputError(
                f"Images to attack should be uint8. Found {images.dtype}.", field="images"
            )
        device = next(network.parameters()).device
        images, labels = images.to(device), labels.to(device)
        ways = self._ways_into(network, attack)
        original = class_logits(AttackedModel(network, preprocessing), images)
        check_labels(labels, classes=original.shape[1])
        first, *others = (AttackedModel(network, preprocessing, way) for way in ways)
        best = _candidates(first, images, labels, attack, seed)
        kept = torch.zeros(len(images), dtype=torch.int64, device=device)
        for index, model in enumerate(others, start=1):
            found = _candidates(model, images, labels, attack, seed)
            stronger = found.stronger_than(best)
            kept = torch.where(stronger, index, kept)
            best = _merge(stronger, found, best)
        return AttackResult(
            images=best.images.cpu(),
            labels=labels.cpu(),
            original_prediction=original.argmax(dim=1).cpu(),
            prediction=best.prediction.cpu(),
            margin=best.margin.cpu(),
            way=kept.cpu(),
            ways=tuple(way_name(way) for way in ways),
        )

    def _ways_into(self, network: nn.Module, attack: Attack) -> tuple[Binariser, ...]:
        gated = isinstance(network, DecoupledNetwork) and not is_always_open(network)
        return self.ways if gated and attack.follows_gradient else (Frozen(),)


def attack_images(
    network: nn.Module,
    preprocessing: Preprocessing,
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    *,
    seed: int = 0,
) -> AttackResult:
    """Attack uint8 images in all three ways through the gates and keep the strongest of each.

    The arguments are those of `StrongestOf`, of which this is the default.
    """
    return StrongestOf()(network, preprocessing, images, labels, attack, seed=seed)


def _candidates(
    model: AttackedModel, images: Tensor, labels: Tensor, attack: Attack, seed: int
) -> _Candidates:
    scaled = model.preprocessing.scale(images)
    rounded = attack.ball.round(attack(model, scaled, labels, seed=seed), images)
    logits = class_logits(model, rounded)
    margin = margins(logits, labels)
    prediction = logits.argmax(dim=1)
    fooled = prediction != labels
    strength = margin
    if isinstance(attack.ball, Unbounded):
        change = (model.preprocessing.scale(rounded) - scaled).flatten(1).norm(dim=1)
        strength = torch.where(fooled, -change, margin)
    return _Candidates(
        images=rounded, prediction=prediction, margin=margin, fooled=fooled, strength=strength
    )


def _merge(chosen: Tensor, first: _Candidates, second: _Candidates) -> _Candidates:
    return _Candidates(
        images=torch.where(chosen[:, None, None, None], first.images, second.images),
        prediction=torch.where(chosen, first.prediction, second.prediction),
        margin=torch.where(chosen, first.margin, second.margin),
        fooled=torch.where(chosen, first.fooled, second.fooled),
        strength=torch.where(chosen, first.strength, second.strength),
    )
