"""How sure the network is of its prediction: too little, or too much."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from detector.baselines.baseline import Baseline
from detector.scoring.observation import Observation

__all__ = ["MaxSoftmax", "ReversedMaxSoftmax"]


class MaxSoftmax(Baseline):
    r"""What the predicted class leaves to all others, high for attacks that stop at the boundary.

    .. math:: s(x) = 1 - \max_c p_c(x) = \sum_{c \ne \hat c} p_c(x)

    Summed over the others: next to 1, the probabilities of sure predictions would all be equal.

    Reference:
        Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution
        Examples in Neural Networks", ICLR 2017.
    """

    name: ClassVar[str] = "max-softmax"

    @override
    def _number(self, seen: Observation) -> Tensor:
        return _doubt(seen)


class ReversedMaxSoftmax(Baseline):
    r"""The same the other way round, high for attacks that end surer than any clean image.

    .. math:: s(x) = \max_c p_c(x) - 1

    Whoever knows beforehand which of the two to take knows the attack: together they show how much
    of an attack the confidence alone gives away.
    """

    name: ClassVar[str] = "reversed-max-softmax"

    @override
    def _number(self, seen: Observation) -> Tensor:
        return -_doubt(seen)


def _doubt(seen: Observation) -> Tensor:
    """Probability of all classes but the predicted one, shape (B,)."""
    probabilities = seen.class_logits.softmax(dim=1)
    return probabilities.scatter(1, seen.predicted.unsqueeze(1), 0.0).sum(dim=1)
