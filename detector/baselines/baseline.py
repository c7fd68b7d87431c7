"""What every baseline keeps: one number for each image, under one name."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from detector.scoring.observation import Observation
from detector.scoring.score import CleanImages, Score

__all__ = ["Baseline"]


class Baseline(Score):
    """A detector of the literature, as one number an image, that Offpath is compared with.

    A baseline reads what a plain network shows as well as what a decoupled one does, see
    `detector.decoupling.always_open`: none looks at bits or gate logits.
    """

    name: ClassVar[str]
    """As reports write it."""

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @override
    def _fit(self, clean: CleanImages) -> None:
        """Nothing, unless a subclass learns."""

    @override
    def _score(self, seen: Observation) -> Tensor:
        return self._number(seen).unsqueeze(1)

    @abstractmethod
    def _number(self, seen: Observation) -> Tensor:
        """The number, (B,)."""
