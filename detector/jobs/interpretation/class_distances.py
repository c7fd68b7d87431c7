r"""How far the paths of classes lie from each other.

Of a gate that images of two classes open with probabilities p and q, and of independent gates,

.. math:: h = p (1 - q) + (1 - p) q, \qquad
          j = (p - q) \left(\log\frac{p}{1 - p} - \log\frac{q}{1 - q}\right)

are the chance that two images, one of each, differ in it, and the symmetric Kullback-Leibler
divergence of the two classes, in nats. The former is averaged over gates, the latter summed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from detector.jobs.interpretation.class_rates import ClassRates

__all__ = ["ALL_LAYERS", "ClassDistances", "Merge", "class_distances"]

ALL_LAYERS = "all layers"
"""In the place of a layer's name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Merge:
    """One step of the dendrogram: two groups of classes become one.

    Args:
        first: Classes of the one, by index.
        second: Classes of the other.
        divergence: Mean divergence between them, nats.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    divergence: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassDistances:
    """Distances of K classes from each other, in one layer or in all of them.

    Args:
        layer: Name of the layer, or ``all layers``.
        differing: Chance that a gate differs between two images of these classes, K rows of K; the
            diagonal is that of two images of one class.
        divergence: Symmetric Kullback-Leibler divergence, nats, K rows of K.
        shuffled_divergence: Mean divergence of two classes where labels are shuffled: what chance
            alone makes of so many images.
        order: The classes in an order that puts alike ones side by side.
        merges: How classes join, the most alike first: K - 1 steps.
    """

    layer: str
    differing: tuple[tuple[float, ...], ...]
    divergence: tuple[tuple[float, ...], ...]
    shuffled_divergence: float
    order: tuple[int, ...]
    merges: tuple[Merge, ...]

    @property
    def mean_divergence(self) -> float:
        """Mean divergence of two different classes, nats."""
        return _mean_apart(np.array(self.divergence))


def class_distances(rates: ClassRates, shuffled: ClassRates) -> tuple[ClassDistances, ...]:
    """Distances in all layers together, then in each.

    Args:
        rates: How often each of K classes opens each gate, K at least 2.
        shuffled: The same with shuffled labels.
    """
    layout = rates.layout
    places = [
        (ALL_LAYERS, slice(None)),
        *zip(layout.names, layout.slices, strict=True),
    ]
    return tuple(
        _distances(name, rates.open_rates[:, part], shuffled.open_rates[:, part])
        for name, part in places
    )


def _distances(
    name: str, rates: NDArray[np.float64], shuffled: NDArray[np.float64]
) -> ClassDistances:
    differing = (rates @ (1 - rates).T + (1 - rates) @ rates.T) / rates.shape[1]
    divergence = _divergence(rates)
    steps = linkage(squareform(divergence, checks=False), "average", optimal_ordering=True)
    return ClassDistances(
        layer=name,
        differing=_rows(differing),
        divergence=_rows(divergence),
        shuffled_divergence=_mean_apart(_divergence(shuffled)),
        order=tuple(leaves_list(steps).tolist()),
        merges=_merges(steps, len(rates)),
    )


def _divergence(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Between each two classes, symmetric with a diagonal of exactly 0."""
    odds = np.log(rates) - np.log1p(-rates)
    cross = rates @ odds.T  # (K, K): sum over gates of p log(q / (1 - q))
    own = np.diag(cross)
    total = own[:, None] + own[None, :] - (cross + cross.T)
    np.fill_diagonal(total, 0.0)
    positive: NDArray[np.float64] = np.maximum(total, 0.0)  # rounding may have left the range
    return positive


def _merges(steps: NDArray[np.float64], classes: int) -> tuple[Merge, ...]:
    groups: list[tuple[int, ...]] = [(index,) for index in range(classes)]
    merges = []
    for first, second, distance, _ in steps.tolist():
        pair = groups[int(first)], groups[int(second)]
        merges.append(Merge(first=pair[0], second=pair[1], divergence=distance))
        groups.append((*pair[0], *pair[1]))
    return tuple(merges)


def _mean_apart(values: NDArray[np.float64]) -> float:
    return float(values[~np.eye(len(values), dtype=np.bool_)].mean())


def _rows(values: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in values.tolist())
