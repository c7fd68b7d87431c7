"""What the class logits alone say: how sure the network is, too little or too much."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from detector.scoring.observation import Observation
from detector.scoring.score import CleanImages, Score

__all__ = ["Confidence"]

_MEASURES = ("log-probability", "logit-margin", "energy")


class Confidence(Score):
    r"""Log-probability of the predicted class, its margin over the next one, and the energy.

    .. math:: z_c - \log \sum_k e^{z_k}, \qquad z_c - \max_{k \ne c} z_k, \qquad
              \log \sum_k e^{z_k}

    each in both directions: attacks that stop at the boundary push them down (``low-``),
    over-confident ones up (``high-``). Nothing is fitted.
    """

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return tuple(f"{end}-{measure}" for end in ("low", "high") for measure in _MEASURES)

    @override
    def _fit(self, clean: CleanImages) -> None:
        pass

    @override
    def _score(self, seen: Observation) -> Tensor:
        first, second = seen.class_logits.topk(2, dim=1).values.unbind(dim=1)
        energy = seen.class_logits.logsumexp(dim=1)
        high = torch.stack([first - energy, first - second, energy], dim=1)  # (B, 3)
        return torch.cat([-high, high], dim=1)
