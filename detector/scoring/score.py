"""What every score keeps: fitted on clean images, it says how unusual others are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from detector.errors import CalibrationError
from detector.paths import PathLayout
from detector.scoring.observation import Observation
from detector.scoring.statistics import PathStatistics

__all__ = ["CleanImages", "Score"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanImages:
    """What scores are fitted on: clean images that the network gets right.

    Args:
        statistics: Sums over all of them, at least one of each class.
        sample: Some of them one by one, N, without copies; for scores that sums do not serve.
        labels: Class of each image of the sample, int64 of shape (N,).
        image_ids: Index of each image of the sample within the training data, int64 of shape (N,).

    Raises:
        CalibrationError: If a class has no image.
        ValueError: If statistics, sample, labels and indices do not fit each other.
    """

    statistics: PathStatistics
    sample: Observation
    labels: Tensor
    image_ids: Tensor

    def __post_init__(self) -> None:
        for name, values in (("Labels", self.labels), ("Indices", self.image_ids)):
            if tuple(values.shape) != (len(self.sample),):
                raise ValueError(
                    f"{name} should be one for each of {len(self.sample)} images. "
                    f"Found the shape {tuple(values.shape)}."
                )
        if self.sample.path.layout != self.layout or self.sample.classes != self.classes:
            raise ValueError(
                f"The sample should have {self.layout.gates} gates and {self.classes} classes, as "
                f"the statistics have. Found {self.sample.path.layout.gates} and "
                f"{self.sample.classes}."
            )
        present = torch.bincount(self.labels, minlength=self.classes)
        for counts in (self.statistics.counts, present):
            empty = torch.nonzero(counts < 1).flatten().tolist()
            if empty:
                raise CalibrationError(
                    "Each class should have at least one clean path. "
                    f"Found none of class {', '.join(map(str, empty))}. Extract more images."
                )

    @property
    def layout(self) -> PathLayout:
        """Which gates belong to which layer."""
        return self.statistics.layout

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return self.statistics.classes


class Score(nn.Module, ABC):
    """A few numbers about each image, each higher for what is more suspicious.

    The fitted state is the module's ``state_dict``; `restore` puts it back. Scores are computed
    by differentiable operations wherever that is possible, as an attacker who knows them would.

    Args:
        layout: Which gates belong to which layer.
        classes: Number of classes, K, at least 2.
        copies: Names of the copies of each image that the score reads.
    """

    growing: ClassVar[tuple[str, ...]] = ()
    """Buffers that hold one row for each image that is kept, as many rows in each."""

    def __init__(self, layout: PathLayout, classes: int, *, copies: tuple[str, ...] = ()) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"A score should have at least 2 classes. Found {classes}.")
        self.layout = layout
        self.classes = classes
        self.copies = copies

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Name of each of the S numbers."""

    def fit(self, clean: CleanImages) -> Self:
        """Learn how clean images look; the same object, fitted.

        Args:
            clean: Clean images, with the layout and classes of this score.

        Raises:
            ValueError: If they are of another layout or number of classes.
        """
        if clean.layout != self.layout or clean.classes != self.classes:
            raise ValueError(
                f"Clean images should have {self.layout.gates} gates and {self.classes} classes. "
                f"Found {clean.layout.gates} and {clean.classes}."
            )
        self._fit(clean)
        return self

    def forward(self, seen: Observation) -> Tensor:
        """Score a batch.

        Args:
            seen: What the network told about the images and the copies that this score reads.

        Returns:
            Float of shape (B, S); NaN where a class logit is not finite, and not finite in at
            least one number where something else that the score reads is not.

        Raises:
            ValueError: If layout or classes are others, or a copy is missing.
        """
        if seen.path.layout != self.layout or seen.classes != self.classes:
            raise ValueError(
                f"Images should have {self.layout.gates} gates and {self.classes} classes. "
                f"Found {seen.path.layout.gates} and {seen.classes}."
            )
        missing = [name for name in self.copies if name not in seen.copies]
        if missing:
            raise ValueError(
                f"Images should come with their copies {', '.join(self.copies)}. "
                f"Found no {', '.join(missing)}."
            )
        values = self._score(seen)
        for each in (seen, *(seen.copies[name] for name in self.copies)):
            # Bits and comparisons would hide a network that broke down.
            broken = each.class_logits.sum(dim=1, keepdim=True)
            values = torch.add(values, broken, alpha=0)  # nothing, or NaN
        return values

    def restore(self, state: dict[str, Tensor]) -> Self:
        """Put a fitted state back; a score whose state grows with the images makes room first.

        Args:
            state: What ``state_dict`` gave.

        Raises:
            KeyError, RuntimeError: If the state is not that of such a score.
        """
        for name in self.growing:
            kept = self.get_buffer(name)
            rows = len(state[self.growing[0]])  # of all of them, or the state is not its own
            setattr(self, name, kept.new_zeros(rows, *kept.shape[1:]))
        self.load_state_dict(state)
        return self

    @abstractmethod
    def _fit(self, clean: CleanImages) -> None:
        """Fill the buffers."""

    @abstractmethod
    def _score(self, seen: Observation) -> Tensor:
        """The numbers, (B, S)."""
