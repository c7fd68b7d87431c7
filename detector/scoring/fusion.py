"""From many statistics to one score: without having seen an attack, or learnt from some."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Self, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from detector.row_blocks import scored_in_blocks
from detector.scoring.surprisal import Surprisal
from detector.scoring.trees import TreeEnsemble

__all__ = ["Fusion", "FusionName", "LearntFusion", "OneClassFusion", "Witness"]


class FusionName(StrEnum):
    """How statistics become one score, by name."""

    ONE_CLASS = "one-class"
    """No attack is seen at all."""
    LEARNT = "learnt"
    """A classifier is fitted on attacks that are known."""


class Fusion(nn.Module, ABC):
    """Turns the statistics of an image into one score, higher for what is more suspicious.

    Args:
        statistics: Number of statistics, S.
    """

    def __init__(self, statistics: int) -> None:
        super().__init__()
        self.statistics = statistics

    def forward(self, statistics: Tensor) -> Tensor:
        """Score a batch.

        Args:
            statistics: What the scores gave, float of shape (B, S).

        Returns:
            float32 of shape (B,); NaN where a statistic is not finite.

        Raises:
            ValueError: If there is not one column for each statistic.
        """
        return self.explained(statistics)[0]

    def testimony(self, statistics: Tensor) -> Tensor:
        """What each witness adds to the score, nats, (B, S) -> (B, W)."""
        return self.explained(statistics)[1]

    def explained(self, statistics: Tensor) -> tuple[Tensor, Tensor]:
        """Scores as `forward` gives them, (B,), and what each witness adds to them, (B, W)."""
        self._check(statistics)
        scores, testimony = self._fuse(statistics)
        # Comparisons would take a side on NaN: it has to show in the score instead.
        scores = torch.add(scores, statistics.detach().sum(dim=1), alpha=0)
        return scores.to(torch.float32), testimony

    def _check(self, statistics: Tensor) -> None:
        if statistics.ndim != 2 or statistics.shape[1] != self.statistics:
            raise ValueError(
                f"Statistics should have {self.statistics} columns. "
                f"Found the shape {tuple(statistics.shape)}."
            )

    @property
    def witnesses(self) -> tuple[Witness, ...]:
        """Whose testimony the score is the sum of; none where it is no such sum."""
        return ()

    @abstractmethod
    def _fuse(self, statistics: Tensor) -> tuple[Tensor, Tensor]:
        """One score a row, (B,), and what each witness adds to it, (B, W)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Witness:
    """Statistics that speak of the same thing, so that together they count as one.

    Args:
        name: What it is called in reports.
        statistics: Names of its statistics, at least one; one that stands twice counts twice.
        meaning: What it says of an image where it is surprised, a clause for people.
    """

    name: str
    statistics: tuple[str, ...]
    meaning: str


class OneClassFusion(Fusion):
    r"""Fisher's sum over witnesses: :math:`\sum_w -\log p_w`.

    Each statistic of a witness becomes its surprisal among clean images; where a witness has
    several, the surprisal of their sum counts. Which way a statistic moves under attack has to be
    known beforehand; no attack is seen. Each kind of attack has its own witness, and one that is
    very sure outweighs others that saw nothing.

    Args:
        names: Name of each statistic, S of them.
        witnesses: Who is heard, at least one.

    Raises:
        ValueError: If a witness has no statistic, or one that is unknown.

    Reference:
        Fisher, "Statistical Methods for Research Workers", 1925, section 21.1.
    """

    columns: Tensor
    member: Tensor

    def __init__(self, names: Sequence[str], witnesses: Sequence[Witness]) -> None:
        super().__init__(len(names))
        wanted = [name for witness in witnesses for name in witness.statistics]
        unknown = sorted(set(wanted) - set(names))
        if unknown or not witnesses or not all(witness.statistics for witness in witnesses):
            raise ValueError(
                "Witnesses should have at least one statistic each, all of them known. "
                f"Found {', '.join(unknown) or 'none'}."
            )
        self._witnesses = tuple(witnesses)
        place = {name: index for index, name in enumerate(names)}
        columns = torch.tensor([place[name] for name in wanted])
        sizes = torch.tensor([len(witness.statistics) for witness in witnesses])
        owner = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
        member = nn.functional.one_hot(owner, len(sizes)).to(torch.float32)  # (C, W)
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("member", member, persistent=False)
        self.single = Surprisal(len(wanted))
        self.together = Surprisal(len(sizes))

    def fit(self, clean: Tensor) -> Self:
        """Learn how the statistics of clean images spread; the same object, fitted.

        Args:
            clean: Statistics of clean images on which no score was fitted, (M, S).

        Raises:
            ValueError: If there is not one column for each statistic.
            CalibrationError: If there is no image, or a value is not finite.
        """
        self._check(clean)
        columns = clean.index_select(1, self.columns)
        self.single.fit(columns)
        self.together.fit(self._sums(columns))
        return self

    @property
    @override
    def witnesses(self) -> tuple[Witness, ...]:
        return self._witnesses

    @override
    def _fuse(self, statistics: Tensor) -> tuple[Tensor, Tensor]:
        columns = statistics.index_select(1, self.columns)
        testimony = cast("Tensor", self.together(self._sums(columns)))
        return testimony.sum(dim=1), testimony

    def _sums(self, columns: Tensor) -> Tensor:
        surprisal = cast("Tensor", self.single(columns))
        return scored_in_blocks(partial(torch.mm, mat2=self.member.to(surprisal.dtype)), surprisal)


class LearntFusion(Fusion):
    """Trees over all statistics, fitted on known attacks; unknown ones may pass it.

    Args:
        statistics: Number of statistics, S.
        trees: Fitted classifier on them.

    Raises:
        ValueError: If the trees read more statistics than there are.
    """

    def __init__(self, statistics: int, trees: TreeEnsemble) -> None:
        super().__init__(statistics)
        if trees.features > statistics:
            raise ValueError(
                f"The classifier should read at most {statistics} statistics. "
                f"Found {trees.features}."
            )
        self.trees = trees

    @override
    def _fuse(self, statistics: Tensor) -> tuple[Tensor, Tensor]:
        scores = cast("Tensor", self.trees(statistics.to(torch.float32)))
        return scores, statistics.new_zeros(len(statistics), 0)
