"""Which clean images took the most similar paths, by the number of gates that differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from detector.paths import PathLayout, PathVectors
from detector.scoring.observation import Observation
from detector.scoring.score import CleanImages, Score

__all__ = ["HammingNeighbours", "NearestImages"]

_NEAREST = 5
_FAR = 1.0
"""No two paths differ in more than all gates."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NearestImages:
    """The clean images that took the most similar paths, nearest first.

    Args:
        distances: Share of gates that differ, float of shape (B, N).
        labels: Their classes, int64 of shape (B, N).
        image_ids: Their indices within the training data, int64 of shape (B, N).
    """

    distances: Tensor
    labels: Tensor
    image_ids: Tensor

    def __getitem__(self, rows: slice) -> NearestImages:
        """Those of some of the images."""
        return NearestImages(
            distances=self.distances[rows], labels=self.labels[rows], image_ids=self.image_ids[rows]
        )


class HammingNeighbours(Score):
    """Share of gates that differ from the nearest clean paths.

    ``own`` is the mean over the five nearest images of the predicted class; ``margin`` is the same
    less the mean over the five nearest of any other class, positive where those are nearer.

    Args:
        layout: Which gates belong to which layer.
        classes: Number of classes, K.
        per_class: Most clean images of each class that are kept, at least 1.
    """

    growing: ClassVar[tuple[str, ...]] = ("bits", "labels", "image_ids")

    bits: Tensor
    labels: Tensor
    image_ids: Tensor
    sides: Tensor
    open_counts: Tensor

    def __init__(self, layout: PathLayout, classes: int, *, per_class: int = 100) -> None:
        super().__init__(layout, classes)
        if per_class < 1:
            raise ValueError(f"per_class should be at least 1. Found {per_class}.")
        self.per_class = per_class
        self.register_buffer("bits", torch.zeros(0, layout.gates, dtype=torch.bool))
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("image_ids", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("sides", torch.zeros(layout.gates, 0), persistent=False)
        self.register_buffer("open_counts", torch.zeros(0), persistent=False)
        self.register_load_state_dict_post_hook(_prepare)  # type: ignore[no-untyped-call] # torch's

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return ("own", "margin")

    @override
    def _fit(self, clean: CleanImages) -> None:
        rows = [
            torch.nonzero(clean.labels == label).flatten()[: self.per_class]
            for label in range(self.classes)
        ]
        chosen = torch.cat(rows)
        self.bits = clean.sample.path.bits[chosen].to(torch.bool)
        self.labels = clean.labels[chosen]
        self.image_ids = clean.image_ids[chosen]
        _prepare(self)

    @override
    def _score(self, seen: Observation) -> Tensor:
        distance = self.distances(seen.path)
        same = self.labels == seen.predicted.unsqueeze(1)  # (B, N)
        own = _nearest(distance, same)
        return torch.stack([own, own - _nearest(distance, ~same)], dim=1)

    def distances(self, path: PathVectors) -> Tensor:
        """Share of gates that differ from each clean path that is kept, (B, N).

        With soft bits it is the expected share.
        """
        bits = path.bits.to(self.sides.dtype)
        return torch.addmm(self.open_counts, bits, self.sides) / self.layout.gates

    def nearest(self, path: PathVectors, most: int) -> NearestImages:
        """The nearest clean images of any class.

        Args:
            path: The paths, with the layout of this score.
            most: So many of them, or all that are kept where those are fewer.
        """
        kept = len(self.labels)
        differing = (self.distances(path) * self.layout.gates).round().to(torch.int64)
        # Many are equally near: the one that stands first is named, on every machine.
        keys = differing * kept + torch.arange(kept, device=differing.device)
        found = keys.topk(min(most, kept), dim=1, largest=False).values  # (B, N)
        places = found % kept
        return NearestImages(
            distances=(found // kept) / self.layout.gates,
            labels=self.labels[places],
            image_ids=self.image_ids[places],
        )


def _prepare(score: HammingNeighbours, _: object = None) -> None:
    """Spread the bits for a matrix product once: four times their size, so never stored."""
    kept = score.bits.to(torch.get_default_dtype())
    # What an open gate adds to the difference; in the order in which the product reads it.
    score.sides = (1 - 2 * kept).T.contiguous()  # (G, N)
    score.open_counts = kept.sum(dim=1)  # (N,)


def _nearest(distance: Tensor, among: Tensor) -> Tensor:
    """Mean distance of the nearest few among the marked, (B, N) -> (B,)."""
    few = min(_NEAREST, distance.shape[1])
    return distance.masked_fill(~among, _FAR).topk(few, dim=1, largest=False).values.mean(dim=1)
