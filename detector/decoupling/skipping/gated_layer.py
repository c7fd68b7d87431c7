"""One gated layer of one image, computed in one of the ways."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detector.decoupling.gates import ControllingModule
from detector.decoupling.skipping.convolution import Convolution, FoldedConvolution
from detector.decoupling.skipping.features import Features, GatedFeatures, scattered
from detector.decoupling.skipping.plan import Way

__all__ = ["GatedLayer"]

_CONVOLVED_MULTIPLE = 16
"""The library computes so many filters at once, and compiles a kernel for each new number of them:
numbers between would cost as much, and would be met for the first time over and over."""


class GatedLayer:
    """Decides which filters are open, and computes those.

    Args:
        controller: Decides.
        convolution: What is computed.
        rectified: Whether a ReLU comes before the gates.
        way: How; a convolution that cannot skip is masked whatever the way.
    """

    def __init__(
        self,
        controller: ControllingModule,
        convolution: Convolution,
        *,
        rectified: bool,
        way: Way,
    ) -> None:
        self._squeeze, self._excite = controller.squeeze, controller.excite
        self._convolution = convolution
        self._rectified = rectified
        self._compute = self._computation(way)
        convolved = way in {Way.FILTERS_CONVOLVED, Way.CHANNELS_CONVOLVED}
        self._multiple = _CONVOLVED_MULTIPLE if convolved else 1

    def __call__(self, value: Features | Tensor) -> GatedFeatures:
        """What the layer makes of a feature map of one image."""
        features = Features.of(value)
        logits = self._logits(features.means())
        filters, opened = self._filters(logits > 0)
        kept = self._compute(features, filters)
        if self._rectified:
            kept = kept.relu_()
        if opened < len(filters):
            kept[:, opened:].zero_()
        means = scattered(kept.mean(dim=(2, 3)).view(-1), len(logits), filters)
        return GatedFeatures(kept, filters, means=means, logits=logits)

    def _logits(self, means: Tensor) -> Tensor:
        hidden = torch.addmv(self._squeeze.bias, self._squeeze.weight, means).relu_()
        return torch.addmv(self._excite.bias, self._excite.weight, hidden)

    def _filters(self, bits: Tensor) -> tuple[Tensor, int]:
        """What is computed, at least one filter: the open ones, then closed ones; how many open."""
        filters = bits.nonzero().view(-1)
        opened = len(filters)
        computed = min(len(bits), max(1, -(-opened // self._multiple)) * self._multiple)
        if computed > opened:
            closed = bits.logical_not().nonzero().view(-1)
            filters = torch.cat([filters, closed[: computed - opened]])
        return filters, opened

    def _computation(self, way: Way) -> Callable[[Features, Tensor], Tensor]:
        convolution = self._convolution
        if isinstance(convolution, FoldedConvolution):
            match way:
                case Way.FILTERS_CONVOLVED:
                    return convolution.convolved
                case Way.FILTERS_MULTIPLIED:
                    return convolution.multiplied
                case Way.CHANNELS_CONVOLVED:
                    return convolution.convolved_open
                case Way.CHANNELS_MULTIPLIED:
                    return convolution.multiplied_open
        return self._masked

    def _masked(self, features: Features, filters: Tensor) -> Tensor:
        return self._convolution.every(features).index_select(1, filters)
