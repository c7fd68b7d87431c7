"""A network as an attacker sees it: images in [0, 1] in, class logits out."""

from __future__ import annotations

from torch import Tensor, nn

from detector.decoupling import (
    Binariser,
    DecoupledNetwork,
    DecoupledOutput,
    Frozen,
    Relaxed,
    StraightThrough,
)
from detector.preprocessing import Preprocessing

__all__ = ["DEFAULT_WAYS", "AttackedModel", "way_name", "with_hard_gates"]

DEFAULT_WAYS: tuple[Binariser, ...] = (StraightThrough(), Relaxed(1.0), Frozen())
"""The ways a gradient can pass hard gates; an attack that tries one only is easily too weak."""


class AttackedModel(nn.Module):
    """Class logits of images in [0, 1], with the normalisation inside.

    Args:
        network: A decoupled network, or any network that returns class logits.
        preprocessing: How images become the network's input.
        way: How gradients pass the gates of a decoupled network; unused by other networks.
    """

    def __init__(
        self, network: nn.Module, preprocessing: Preprocessing, way: Binariser | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.preprocessing = preprocessing
        self.way = way or Frozen()

    def forward(self, images: Tensor) -> Tensor:
        """Class logits, (B, 3, H, W) -> (B, K)."""
        normalised = self.preprocessing.normalise(images)
        if isinstance(self.network, DecoupledNetwork):
            with self.network.gradients(self.way):
                output: DecoupledOutput = self.network(normalised)
            return output.class_logits
        logits: Tensor = self.network(normalised)
        return logits


def with_hard_gates(model: nn.Module) -> nn.Module:
    """The model as it predicts when it is served: itself, unless an attacker relaxed its gates.

    For attacks that keep what fools the model; by relaxed gates they would keep the wrong images.
    """
    if isinstance(model, AttackedModel) and isinstance(model.way, Relaxed):
        return AttackedModel(model.network, model.preprocessing)
    return model


def way_name(way: Binariser) -> str:
    """A way through the gates as tables and reports write it."""
    match way:
        case StraightThrough():
            return f"straight-through-{way.bound:g}"
        case Relaxed():
            return f"relaxed-{way.temperature:g}"
        case _:
            return type(way).__name__.lower()
