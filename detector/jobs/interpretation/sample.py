"""Some images of a split with their paths: what has to be looked at more than once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detector.errors import DataError, InvalidInputError
from detector.path_table import PathTable, SplitName
from detector.paths import PathLayout

__all__ = ["PathSample", "gates_of", "read_sample"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PathSample:
    """Clean images of one split, in the order of the table.

    Args:
        split: Which split.
        layout: Which gates belong to which layer.
        class_names: Name of each class.
        image_ids: Index of each image within its source, int64 of shape (N,).
        bits: True where a gate is open, bool of shape (N, G).
        logits: Value of each gate before binarisation, float16 of shape (N, G).
        labels: True classes, int64 of shape (N,), in 0..K-1.
        predictions: Predicted classes, int64 of shape (N,).
    """

    split: SplitName
    layout: PathLayout
    class_names: tuple[str, ...]
    image_ids: NDArray[np.int64]
    bits: NDArray[np.bool_]
    logits: NDArray[np.float16]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice | NDArray[np.generic]) -> PathSample:
        """Some of the images, chosen by a slice, a mask or indices."""
        return PathSample(
            split=self.split,
            layout=self.layout,
            class_names=self.class_names,
            image_ids=self.image_ids[rows],
            bits=self.bits[rows],
            logits=self.logits[rows],
            labels=self.labels[rows],
            predictions=self.predictions[rows],
        )

    def of_layers(self, names: Sequence[str]) -> PathSample:
        """The same images with the gates of some layers alone; with all of them for no name."""
        if not names:
            return self
        gates = gates_of(names, self.layout)
        named = [layer for layer in self.layout.names if layer in names]
        sizes = dict(zip(self.layout.names, self.layout.sizes, strict=True))
        layout = PathLayout(names=tuple(named), sizes=tuple(sizes[layer] for layer in named))
        return replace(self, layout=layout, bits=self.bits[:, gates], logits=self.logits[:, gates])


def gates_of(names: Sequence[str], layout: PathLayout) -> NDArray[np.int64]:
    """Indices of the gates of some layers, in the order of the network; of all for no name.

    Args:
        names: Names of the layers.
        layout: Which gates belong to which layer.

    Raises:
        InvalidInputError: If there is no such layer.
    """
    for name in names:
        if name not in layout.names:
            raise InvalidInputError(
                f"A layer should be one of the network's gated ones, {', '.join(layout.names)}. "
                f"Found {name!r}. Name one of these.",
                field="layer",
            )
    return np.concatenate(
        [
            np.arange(part.start, part.stop)
            for name, part in zip(layout.names, layout.slices, strict=True)
            if not names or name in names
        ]
    )


def read_sample(table: PathTable, split: SplitName, *, limit: int, seed: int) -> PathSample:
    """Clean images of a split, all of them or a random part; no other is kept in memory.

    Args:
        table: The path table.
        split: Which split.
        limit: Most images, positive.
        seed: Seed of the choice.

    Raises:
        DataError: If the table does not hold the split, or no image of it.
    """
    rows = table.part(split).rows
    if not rows:
        raise DataError(
            f"{table.folder} should hold clean {split} images. Found none. Extract some."
        )
    chosen = np.zeros(rows, dtype=np.bool_)
    generator = np.random.default_rng(seed)
    chosen[generator.choice(rows, size=min(limit, rows), replace=False)] = True
    ids, bits, logits, labels, predictions = [], [], [], [], []
    start = 0
    for batch in table.batches(split):
        here = chosen[start : start + len(batch)]
        start += len(batch)
        ids.append(batch.image_ids.numpy()[here])
        bits.append(batch.path.bits.numpy()[here])
        logits.append(_halved(batch.path.logits.numpy()[here]))
        labels.append(batch.labels.numpy()[here])
        predictions.append(batch.predictions.numpy()[here])
    return PathSample(
        split=split,
        layout=table.info.layout,
        class_names=table.info.class_names,
        image_ids=np.concatenate(ids),
        bits=np.concatenate(bits),
        logits=np.concatenate(logits),
        labels=np.concatenate(labels),
        predictions=np.concatenate(predictions),
    )


def _halved(logits: NDArray[np.float32]) -> NDArray[np.float16]:
    """In half the memory; a linear probe reads the same off three digits."""
    most = float(np.finfo(np.float16).max)
    return np.clip(logits, -most, most).astype(np.float16)
