"""The energy of an image under the classifier, read as a density model."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from detector.baselines.baseline import Baseline
from detector.scoring.observation import Observation

__all__ = ["Energy"]


class Energy(Baseline):
    r"""Energy of an image, low where the network has seen much; the temperature is 1.

    .. math:: s(x) = -\log \sum_c \exp z_c(x)

    Reference:
        Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020.
    """

    name: ClassVar[str] = "energy"

    @override
    def _number(self, seen: Observation) -> Tensor:
        return -seen.class_logits.logsumexp(dim=1)
