"""The architecture controlling module and the ways to turn its logits into gates.

A `Binariser` maps the gate logits of one layer to the values that multiply its channels. The
values decide both what the network computes and how a gradient passes: inference, training
and each attacker's way through the gates are separate binarisers instead of switches of one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from detector.row_blocks import in_blocks

__all__ = [
    "Binariser",
    "ControllingModule",
    "ForcedGates",
    "Frozen",
    "GateNoise",
    "Relaxed",
    "SemHash",
    "StraightThrough",
    "saturating_sigmoid",
]


class ControllingModule(nn.Module):
    r"""Decides, per image, which output channels of one convolution compute.

    .. math:: y = W_2 \, relu(W_1 \, GAP(X) + b_1) + b_2

    Args:
        in_channels: Channels of the feature map X that the convolution reads.
        out_channels: Channels that the convolution writes: one gate each.
        reduction: The hidden layer has ``in_channels / reduction`` units, at least one.
        input_independent_start: Whether W1 starts at zero, so that all images share one
            path at first (the paper's choice for VGG and the ImageNet networks).

    Reference:
        Li et al., "Interpretable Neural Network Decoupling", ECCV 2020, section 3.1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        reduction: int = 4,
        input_independent_start: bool = False,
    ) -> None:
        super().__init__()
        self.squeeze = nn.Linear(in_channels, max(1, in_channels // reduction))
        self.excite = nn.Linear(self.squeeze.out_features, out_channels)
        nn.init.ones_(self.squeeze.bias)
        nn.init.ones_(self.excite.bias)
        nn.init.kaiming_normal_(self.excite.weight)
        if input_independent_start:
            nn.init.zeros_(self.squeeze.weight)
        else:
            nn.init.kaiming_normal_(self.squeeze.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Gate logits of a feature map, (B, Cin, H, W) -> (B, Cout)."""
        pooled = features.mean(dim=(2, 3))  # (B, Cin)
        # In training, numbers that hang on the batch do no harm and blocks would cost time.
        return self._logits(pooled) if self.training else in_blocks(self._logits, pooled)

    def _logits(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self.excite(torch.relu(self.squeeze(pooled)))
        return logits  # (B, Cout)


class Binariser(ABC):
    """Turns the gate logits of one layer into the values that multiply its channels."""

    @abstractmethod
    def __call__(self, logits: Tensor, gates: slice) -> Tensor:
        """Gate values of one layer.

        Args:
            logits: Gate logits of the layer, shape (B, C).
            gates: Where the layer lies among all gates of the network.

        Returns:
            Values in [0, 1] of shape (B, C) that multiply the layer's output channels.
        """


class Frozen(Binariser):
    """Gates are 0 or 1 and pass no gradient: inference, and the attacker who ignores them."""

    @override
    def __call__(self, logits: Tensor, gates: slice) -> Tensor:
        return (logits > 0).to(logits.dtype)


@dataclass(frozen=True, slots=True)
class ForcedGates(Binariser):
    """Some gates of some images are set, the others decide as ever.

    Args:
        forced: Which, bool of shape (B, G); of shape (1, G), those of every image.
        open_gates: What those are set to, of the same shape.
    """

    forced: Tensor
    open_gates: Tensor

    @override
    def __call__(self, logits: Tensor, gates: slice) -> Tensor:
        return self.bits(logits, gates).to(logits.dtype)

    def bits(self, logits: Tensor, gates: slice) -> Tensor:
        """Which gates are open, bool of shape (B, C)."""
        return torch.where(self.forced[:, gates], self.open_gates[:, gates], logits > 0)


class _ClippedStraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(logits)
        ctx.bound = bound
        return (logits > 0).to(logits.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (logits,) = ctx.saved_tensors
        return gradients[0] * (logits.abs() <= ctx.bound).to(gradients[0].dtype), None


@dataclass(frozen=True, slots=True)
class StraightThrough(Binariser):
    """Gates are 0 or 1; the gradient passes unchanged where the logit is near zero.

    Args:
        bound: The gradient passes where ``|logit| <= bound``.

    Reference:
        Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons", 2013.
    """

    bound: float = 1.0

    @override
    def __call__(self, logits: Tensor, gates: slice) -> Tensor:
        values: Tensor = _ClippedStraightThrough.apply(logits, self.bound)
        return values


@dataclass(frozen=True, slots=True)
class Relaxed(Binariser):
    """Gates are ``sigmoid(logit / temperature)``: smooth, so that a gradient sees all of them.

    Args:
        temperature: Softness of the gates, positive; near zero they are almost hard.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature should be positive. Found {self.temperature}.")

    @override
    def __call__(self, logits: Tensor, gates: slice) -> Tensor:
        return torch.sigmoid(logits / self.temperature)


@dataclass(frozen=True, kw_only=True, slots=True)
class GateNoise:
    """The random part of one training step's gates, drawn outside of the network.

    Drawn outside, the noise is the same whether or not the network is compiled, and a
    resumed run can draw it again from its seed.

    Args:
        noise: Added to the gate logits, shape (B, G).
        hard: True for the images whose gates are binarised in the forward pass, shape (B, 1).
    """

    noise: Tensor
    hard: Tensor

    @staticmethod
    def draw(
        images: int,
        gates: int,
        *,
        std: float = 1.0,
        hard_share: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> GateNoise:
        """Gaussian noise for all gates, and a random share of the images as the hard ones."""
        noise = torch.randn(images, gates, generator=generator) * std
        order = torch.randperm(images, generator=generator)
        return GateNoise(noise=noise, hard=(order < int(images * hard_share)).unsqueeze(1))

    def to(self, device: torch.device) -> GateNoise:
        """The same noise on another device."""
        return GateNoise(noise=self.noise.to(device), hard=self.hard.to(device))


def saturating_sigmoid(logits: Tensor) -> Tensor:
    r"""The sigmoid stretched to :math:`[-0.1, 1.1]` and clipped to :math:`[0, 1]`."""
    return (1.2 * torch.sigmoid(logits) - 0.1).clamp(0, 1)


@dataclass(slots=True)  # not frozen: torch.compile of 2.11 loses such fields where it makes one
class SemHash(Binariser):
    """Improved SemHash, the gates of training: noisy, half of the *images* hard.

    The gradient always goes through the saturating sigmoid. The hard half is chosen per image,
    as in the references; a choice per channel would never show the network a whole hard path.

    Reference:
        Kaiser and Bengio, "Discrete Autoencoders for Sequence Models", 2018;
        Chen et al., "You Look Twice: GaterNet for Dynamic Filter Selection", CVPR 2019.
    """

    noise: GateNoise

    @override
    def __call__(self, logits: Tensor, gates: slice) -> Tensor:
        noisy = logits + self.noise.noise[:, gates].to(logits.dtype)
        soft = saturating_sigmoid(noisy)
        hard = (noisy > 0).to(soft.dtype)
        through_soft = hard + soft - soft.detach()
        return torch.where(self.noise.hard, through_soft, soft)
