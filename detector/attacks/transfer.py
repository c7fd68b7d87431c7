"""Attack images made on one network and judged on another."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from detector.attacks.base import Attack
from detector.attacks.model import AttackedModel
from detector.attacks.result import AttackResult, check_labels, class_logits, margins
from detector.attacks.strongest import StrongestOf
from detector.decoupling import Binariser
from detector.preprocessing import Preprocessing

__all__ = ["TransferThrough"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TransferThrough:
    """Attacks a surrogate, of which the attacker knows all, and shows the images to the network.

    Which way through the surrogate's gates gives the strongest image, the surrogate alone decides:
    an attacker who could ask the network itself would not need another one.

    Args:
        surrogate: Another network for the same images and classes, with gates or without.
        preprocessing: How images become the surrogate's input; of the network's input size.
        strongest: How attacks pass the surrogate's gates.
    """

    surrogate: nn.Module
    preprocessing: Preprocessing
    strongest: StrongestOf = field(default_factory=StrongestOf)

    @property
    def ways(self) -> tuple[Binariser, ...]:
        """Ways through the surrogate's gates."""
        return self.strongest.ways

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
            network: The network that judges: a decoupled one, or any that returns class logits.
            preprocessing: How images become its input.
            images: uint8 images of the networks' input size, shape (B, 3, H, W).
            labels: True classes, int64 of shape (B,).
            attack: What is done to them.
            seed: Fixes what is random.

        Returns:
            The images that the surrogate's attack gave, with what the network itself predicts
            before and after. Its ways are those through the surrogate.

        Raises:
            InvalidInputError: If images or labels are not of this kind.
            AttackError: If the attack broke a property that it has to keep.
        """
        made = self.strongest(self.surrogate, self.preprocessing, images, labels, attack, seed=seed)
        device = next(network.parameters()).device
        target = AttackedModel(network, preprocessing)
        before = class_logits(target, images.to(device)).cpu()
        after = class_logits(target, made.images.to(device)).cpu()
        check_labels(made.labels, classes=after.shape[1])
        return replace(
            made,
            original_prediction=before.argmax(dim=1),
            prediction=after.argmax(dim=1),
            margin=margins(after, made.labels),
        )
