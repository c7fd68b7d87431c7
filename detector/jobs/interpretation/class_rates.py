"""How often each class opens each gate: sums over any number of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.path_table import PathTable, SplitName
from detector.paths import PathLayout

__all__ = ["ClassRates", "LayerGates", "class_rates", "layer_gates"]

_NEVER = 0.001
"""A gate that fewer images than this share see in its other state counts as always so."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClassRates:
    """How often each class opens each gate; of two sets of images they can be added.

    Args:
        layout: Which gates belong to which layer.
        counts: Number of images of each class, float64 of shape (K,).
        open_counts: How many of them open each gate, float64 of shape (K, G).
    """

    layout: PathLayout
    counts: NDArray[np.float64]
    open_counts: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        bits: NDArray[np.bool_],
        labels: NDArray[np.int64],
        *,
        layout: PathLayout,
        classes: int,
    ) -> ClassRates:
        """The rates of some images.

        Args:
            bits: True where a gate is open, bool of shape (B, G).
            labels: Class of each image, int64 of shape (B,), in 0..K-1.
            layout: Which gates belong to which layer.
            classes: Number of classes, K.
        """
        member = np.eye(classes)[labels].T  # (K, B)
        return cls(
            layout=layout,
            counts=member.sum(axis=1),
            open_counts=member @ bits.astype(np.float64),
        )

    def __add__(self, other: ClassRates) -> ClassRates:
        return ClassRates(
            layout=self.layout,
            counts=self.counts + other.counts,
            open_counts=self.open_counts + other.open_counts,
        )

    @property
    def open_rates(self) -> NDArray[np.float64]:
        """Share of each class's images that open each gate, shape (K, G), in (0, 1).

        As if one more image had opened it by half, and one had closed it so: a gate that a class
        was never seen to open is not for that impossible to open.
        """
        rates: NDArray[np.float64] = (self.open_counts + 0.5) / (self.counts[:, None] + 1)
        return rates

    @property
    def overall(self) -> NDArray[np.float64]:
        """Share of all images that open each gate, shape (G,), in [0, 1]."""
        rates: NDArray[np.float64] = self.open_counts.sum(axis=0) / self.counts.sum()
        return rates


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerGates:
    """What kinds of gates a layer has.

    Args:
        layer: Name of the layer.
        always_open: Number of gates that at least 99.9 % of all images open.
        always_closed: Number of gates that at most 0.1 % do.
        input_dependent: Number of all others.
        open_share: Mean share of the layer's gates that an image opens, in [0, 1].
    """

    layer: str
    always_open: int
    always_closed: int
    input_dependent: int
    open_share: float


def layer_gates(rates: ClassRates) -> tuple[LayerGates, ...]:
    """The kinds of gates of each layer."""
    overall = rates.overall
    found = []
    for name, part in zip(rates.layout.names, rates.layout.slices, strict=True):
        opened, closed = overall[part] >= 1 - _NEVER, overall[part] <= _NEVER
        found.append(
            LayerGates(
                layer=name,
                always_open=int(opened.sum()),
                always_closed=int(closed.sum()),
                input_dependent=int((~opened & ~closed).sum()),
                open_share=float(overall[part].mean()),
            )
        )
    return tuple(found)


def class_rates(
    table: PathTable, split: SplitName, generator: np.random.Generator
) -> tuple[ClassRates, ClassRates]:
    """Rates over all clean images of a split, a few of them in memory at a time.

    Args:
        table: The path table.
        split: Which split; of at least one image.
        generator: Shuffles the labels within each batch.

    Returns:
        The rates, and those with shuffled labels: the control, in which paths have nothing to do
        with classes.

    Raises:
        DataError: If the table does not hold the split.
    """
    layout, classes = table.info.layout, len(table.info.class_names)
    none = ClassRates(
        layout=layout, counts=np.zeros(classes), open_counts=np.zeros((classes, layout.gates))
    )
    found = shuffled = none
    for batch in table.batches(split):
        labels, bits = batch.labels.numpy(), batch.path.bits.numpy()
        found += ClassRates.of(bits, labels, layout=layout, classes=classes)
        others = generator.permutation(labels)
        shuffled += ClassRates.of(bits, others, layout=layout, classes=classes)
    return found, shuffled
