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

    def __call__(self, value: Features | Tensor) -> GatedFeatures:
        features = Features.of(value)
        logits = self._logits(features.means())
        filters = (logits > 0).nonzero().view(-1)
        # No size of zero anywhere: where all are closed, one is computed and taken for zero.
        closed = not len(filters)
        if closed:
            filters = torch.zeros(1, dtype=torch.int64, device=logits.device)
        kept = self._compute(features, filters)
        if self._rectified:
            kept = kept.relu_()
        if closed:
            kept = kept.zero_()
        means = scattered(kept.mean(dim=(2, 3)).view(-1), len(logits), filters)
        return GatedFeatures(kept, filters, means=means, logits=logits)

    def _logits(self, means: Tensor) -> Tensor:
        hidden = torch.addmv(self._squeeze.bias, self._squeeze.weight, means).relu_()
        return torch.addmv(self._excite.bias, self._excite.weight, hidden)

    def _computation(self, way: Way) -> Callable[[Features, Tensor], Tensor]:
        convolution = self._convolution
        if way is Way.MASKED or not isinstance(convolution, FoldedConvolution):
            return self._masked
        return convolution.some if way is Way.OPEN_FILTERS else convolution.some_of_open

    def _masked(self, features: Features, filters: Tensor) -> Tensor:
        return self._convolution.every(features).index_select(1, filters)
