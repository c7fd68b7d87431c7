"""Rows of the path table as tensors, to Arrow and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NewType

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.path_table.info import ORIGINAL
from detector.paths import PathLayout, PathVectors
from detector.scoring import Observation

__all__ = ["CalibrationRows", "CopiedRows", "PathRows", "batch_from_rows", "rows_from_batch"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PathRows:
    """What the network did with some images of one split under one attack.

    Rows of a copy tell what the network did with the copy: its path, class logits and prediction.
    Everything else they tell about the image that was copied.

    Args:
        image_ids: Index of each image within its source, int64 of shape (B,).
        path: The paths.
        class_logits: Unnormalised class scores, float of shape (B, K).
        labels: True classes, int64 of shape (B,).
        original_predictions: Classes predicted before the attack, int64 of shape (B,).
        predictions: Predicted classes, int64 of shape (B,).
        success: True where the network was right before the attack and wrong after it, both on
            8-bit images with hard gates, bool of shape (B,); False in clean rows.
        ways: Way through the gates that gave each image, the surrogate's gates in a transfer
            attack; empty text in clean rows.
    """

    image_ids: Tensor
    path: PathVectors
    class_logits: Tensor
    labels: Tensor
    original_predictions: Tensor
    predictions: Tensor
    success: Tensor
    ways: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def seen(self) -> Observation:
        """What the network told about these images, as scores read it."""
        return Observation(path=self.path, class_logits=self.class_logits)

    @staticmethod
    def concatenate(parts: list[PathRows]) -> PathRows:
        """One batch out of several of the same layout.

        Raises:
            ValueError: If there is no part.
        """
        return PathRows(
            image_ids=torch.cat([part.image_ids for part in parts]),
            path=PathVectors.concatenate([part.path for part in parts]),
            class_logits=torch.cat([part.class_logits for part in parts]),
            labels=torch.cat([part.labels for part in parts]),
            original_predictions=torch.cat([part.original_predictions for part in parts]),
            predictions=torch.cat([part.predictions for part in parts]),
            success=torch.cat([part.success for part in parts]),
            ways=tuple(way for part in parts for way in part.ways),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class CopiedRows:
    """The same images as they are and as copies, row beside row.

    Args:
        original: The images, clean or attacked.
        copies: By the copy's name the same images copied, in the order of the names asked for.
    """

    original: PathRows
    copies: Mapping[str, PathRows]

    def __len__(self) -> int:
        return len(self.original)

    @property
    def seen(self) -> Observation:
        """What the network told about images and copies, as scores read it."""
        return Observation(
            path=self.original.path,
            class_logits=self.original.class_logits,
            copies={name: rows.seen for name, rows in self.copies.items()},
        )


CalibrationRows = NewType("CalibrationRows", CopiedRows)
"""Clean rows of the calibration split: the false-alarm promise takes no others."""


def batch_from_rows(
    rows: PathRows, *, split: str, attack: str, epsilon: float | None, copy: str = ORIGINAL
) -> pa.RecordBatch:
    """Rows as they are kept in Parquet.

    Args:
        rows: The rows.
        split: Which split they come from.
        attack: Label of the attack, or ``clean``.
        epsilon: Its radius in [0, 1] pixel scale; None where it has none.
        copy: Name of the copy of the images that the rows are about, or the images themselves.
    """
    count = len(rows)
    columns = {
        "image_id": pa.array(rows.image_ids.numpy()),
        "split": pa.array([split] * count),
        "copy": pa.array([copy] * count),
        "attack": pa.array([attack] * count),
        "epsilon": pa.array([epsilon] * count, type=pa.float64()),
        "label": pa.array(rows.labels.to(torch.int32).numpy()),
        "original_prediction": pa.array(rows.original_predictions.to(torch.int32).numpy()),
        "prediction": pa.array(rows.predictions.to(torch.int32).numpy()),
        "success": pa.array(rows.success.numpy()),
        "way": pa.array(rows.ways, type=pa.string()),
        "bits": _packed(rows.path.bits),
        "gate_logits": _vectors(rows.path.logits),
        "activations": _vectors(rows.path.activations),
        "class_logits": _vectors(rows.class_logits),
    }
    return pa.RecordBatch.from_pydict(columns)


def rows_from_batch(batch: pa.RecordBatch, layout: PathLayout) -> PathRows:
    """Rows out of Parquet.

    Args:
        batch: What `batch_from_rows` made.
        layout: Which gates belong to which layer.

    Raises:
        KeyError: If a column is missing.
    """
    return PathRows(
        image_ids=_integers(batch["image_id"]),
        path=PathVectors(
            layout=layout,
            bits=_unpacked(batch["bits"], layout.gates),
            logits=_floats(batch["gate_logits"]),
            activations=_floats(batch["activations"]),
        ),
        class_logits=_floats(batch["class_logits"]),
        labels=_integers(batch["label"]),
        original_predictions=_integers(batch["original_prediction"]),
        predictions=_integers(batch["prediction"]),
        success=torch.from_numpy(batch["success"].to_numpy(zero_copy_only=False).copy()),
        ways=tuple(batch["way"].to_pylist()),
    )


def _packed(bits: Tensor) -> Any:
    packed: NDArray[np.uint8] = np.packbits(bits.numpy(), axis=1)  # (B, ceil(G / 8))
    kind = pa.binary(packed.shape[1])
    return pa.FixedSizeBinaryArray.from_buffers(
        kind, len(packed), [None, pa.py_buffer(packed.tobytes())]
    )


def _unpacked(column: Any, gates: int) -> Tensor:
    width = column.type.byte_width
    start = column.offset * width
    data = np.frombuffer(column.buffers()[1], dtype=np.uint8)[start : start + len(column) * width]
    bits = np.unpackbits(data.reshape(len(column), width), axis=1, count=gates)
    return torch.from_numpy(bits.astype(np.bool_))


def _vectors(values: Tensor) -> Any:
    flat = pa.array(values.to(torch.float32).contiguous().numpy().reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _floats(column: Any) -> Tensor:
    flat = column.flatten().to_numpy()
    return torch.from_numpy(flat.reshape(len(column), -1).copy())


def _integers(column: Any) -> Tensor:
    return torch.from_numpy(column.to_numpy().astype(np.int64))
