"""An attack that sees class logits only, computed by torchattacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torchattacks
from torch import Tensor, nn
from typing_extensions import override

from detector.attacks.base import check_at_least
from detector.attacks.library import library_seed
from detector.attacks.linf import LinfAttack

__all__ = ["Square"]

_LARGEST_SHARE = 0.8
"""Share of the image that the first squares cover, as in the paper."""


@dataclass(frozen=True, kw_only=True)
class Square(LinfAttack):
    """Random search over squares of colour at the corners of the ball, smaller and smaller ones.

    No gradient is needed, so that it also judges networks that mask theirs. Images for which it
    does not succeed come back as they were.

    Args:
        epsilon: Largest change of a pixel value, in [0, 1] pixel scale.
        queries: Largest number of forward passes of each image, at least 1; AutoAttack takes 5000.
            The squares shrink on a schedule that is stretched to it.

    Reference:
        Andriushchenko et al., "Square Attack: a Query-efficient Black-box Adversarial Attack via
        Random Search", ECCV 2020.
    """

    queries: int = 1000

    follows_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("queries", self.queries, 1)

    @override
    def _perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        # A square of a long image's area can be higher than the image, and is cut off then.
        short, long = sorted(images.shape[2:])
        square = torchattacks.Square(
            model,
            eps=self.epsilon,
            n_queries=self.queries,
            p_init=min(_LARGEST_SHARE, short / long),
            seed=library_seed(),
        )
        attacked: Tensor = square(images, labels)
        return attacked
