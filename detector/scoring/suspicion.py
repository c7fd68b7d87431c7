"""From what the network told about images to one score for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from detector.paths import PathLayout
from detector.scoring.fusion import Fusion, Witness
from detector.scoring.observation import Observation
from detector.scoring.path_scores import PathScores
from detector.scoring.stability import MARGIN_FALL, PROBABILITY_FALL, Stability

__all__ = ["Statistics", "Suspicion", "SuspicionScores", "one_class_witnesses"]

_STABILITY = "stability"
_LOW_MARGIN = "confidence/low-logit-margin"


def one_class_witnesses(copies: tuple[str, ...]) -> tuple[Witness, ...]:
    """Who is heard where no attack was seen.

    Always: where the activations lie. With copies: how margins fall, which shows confident attacks,
    and how near the image is to the boundary, by its margin and by how the probability falls; the
    margin counts as often as there are copies, or many of them would drown it. Without copies:
    whether the activations fit another class better, and how sure the network is, since confident
    attacks push the energy up and those that stop at the boundary leave a small margin.

    Args:
        copies: Names of the copies, none for one pass.
    """
    path = Witness(
        name="activations",
        statistics=("activations/own:all",),
        meaning="its filters respond unlike those of clean images of that class",
    )
    if not copies:
        return (
            path,
            Witness(
                name="other class",
                statistics=("activations/margin:all",),
                meaning="its filters respond as those of another class do",
            ),
            Witness(
                name="confidence",
                statistics=(_LOW_MARGIN, "confidence/high-energy"),
                meaning="the network is less sure of it, or surer, than of clean images",
            ),
        )
    return (
        path,
        Witness(
            name="margin fall",
            statistics=_changes(MARGIN_FALL, copies),
            meaning="its lead over some other class shrinks when the image is copied",
        ),
        Witness(
            name="boundary",
            statistics=_changes(PROBABILITY_FALL, copies) + (_LOW_MARGIN,) * len(copies),
            meaning="it lies near another class, and the prediction fades when the image is copied",
        ),
    )


def _changes(statistic: str, copies: tuple[str, ...]) -> tuple[str, ...]:
    """Names of a statistic of stability, for each copy."""
    return tuple(f"{_STABILITY}/{statistic}:{copy}" for copy in copies)


@dataclass(frozen=True, kw_only=True, slots=True)
class SuspicionScores:
    """How suspicious each image is.

    Args:
        scores: Higher is more suspicious, float32 of shape (B,); NaN where the network's output
            was not finite.
        layer_weights: Share of each layer in how far the path lies from its class, (B, L).
        testimony: What each witness of the fusion adds to the score, (B, W); W is 0 where the
            score is no such sum.
    """

    scores: Tensor
    layer_weights: Tensor
    testimony: Tensor


class Statistics(nn.Module):
    """All statistics of images and some copies of them.

    Args:
        path_scores: Scores of the images' own paths; shared between levels.
        copies: Names of the copies that are looked at, none for one pass.
    """

    def __init__(self, path_scores: PathScores, copies: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.path_scores = path_scores
        self.copies = copies
        self._stability: Stability | None = None
        if copies:
            self._stability = Stability(path_scores.layout, path_scores.classes, copies)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each of the S statistics."""
        if self._stability is None:
            return self.path_scores.names
        changes = (f"{_STABILITY}/{name}" for name in self._stability.names)
        return (*self.path_scores.names, *changes)

    def forward(self, seen: Observation, only: frozenset[str] | None = None) -> Tensor:
        """All statistics, float of shape (B, S), those of the path first.

        Args:
            seen: What the network told about images and copies.
            only: Keys of the path's scores that are wanted, see `PathScores`; by default all.

        Raises:
            ValueError: If a copy is missing, or layout or classes are others.
        """
        own = cast("Tensor", self.path_scores(seen, only))
        if self._stability is None:
            return own
        return torch.cat([own, self._stability(seen)], dim=1)


class Suspicion(nn.Module):
    """The fitted detector of one level, without the network and without a threshold.

    Args:
        statistics: What is measured.
        fusion: How it becomes one score.

    Raises:
        ValueError: If the fusion reads another number of statistics.
    """

    def __init__(self, statistics: Statistics, fusion: Fusion) -> None:
        super().__init__()
        if fusion.statistics != len(statistics.names):
            raise ValueError(
                f"The fusion should read {len(statistics.names)} statistics. "
                f"Found {fusion.statistics}."
            )
        self.statistics = statistics
        self.fusion = fusion
        # A sum of witnesses leaves most scores unread, and a network in production is in a hurry.
        heard = [name for witness in fusion.witnesses for name in witness.statistics]
        self._only = statistics.path_scores.keys_of(heard) if heard else None

    @property
    def layout(self) -> PathLayout:
        """Which gates belong to which layer."""
        return self.statistics.path_scores.layout

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return self.statistics.path_scores.classes

    @property
    def copies(self) -> tuple[str, ...]:
        """Names of the copies that it reads."""
        return self.statistics.copies

    def forward(self, seen: Observation) -> SuspicionScores:
        """Score a batch.

        Args:
            seen: What the network told about the images and their copies.

        Raises:
            ValueError: If a copy is missing, or layout or classes are others.
        """
        values = cast("Tensor", self.statistics(seen, self._only))
        path_scores = self.statistics.path_scores
        own = values[:, : path_scores.width]
        scores, testimony = self.fusion.explained(values)
        return SuspicionScores(
            scores=scores,
            layer_weights=path_scores.layer_weights(own),
            testimony=testimony,
        )
