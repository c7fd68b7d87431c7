"""The state of a training, written whole or not at all."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from detector.errors import CheckpointError
from detector.storage import atomic_path

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """Where a phase of training stands.

    Args:
        step: Steps that are done.
        fingerprint: The recipe and options that the run depends on; another run's checkpoint
            is refused.
        states: State dicts of everything that changes from step to step.
    """

    step: int
    fingerprint: str
    states: dict[str, Any]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint.

    Raises:
        StorageError: If it cannot be written; the one before it stays.
    """
    content = {
        "step": checkpoint.step,
        "fingerprint": checkpoint.fingerprint,
        "states": checkpoint.states,
    }
    buffer = io.BytesIO()  # on a full disk torch.save would hide the OSError in a RuntimeError
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path, fingerprint: str) -> Checkpoint | None:
    """The checkpoint at a path, or None where there is none. Only tensors and numbers are read.

    Raises:
        CheckpointError: If the file is damaged or belongs to another recipe, seed or data set.
    """
    if not path.exists():
        return None
    try:
        _check_sums(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        checkpoint = Checkpoint(**content)
    except Exception as error:  # torch raises whatever the damaged bytes lead it to
        raise CheckpointError(
            f"{path} should be a checkpoint of `offpath train`. Found: {error}. "
            "Remove it to start this phase again."
        ) from error
    if checkpoint.fingerprint != fingerprint:
        raise CheckpointError(
            f"{path} should belong to this recipe, seed and data set. Found one of another run. "
            "Choose another --output, or remove it to start again."
        )
    return checkpoint


def _check_sums(path: Path) -> None:
    """Hold each part of the archive against its checksum, which torch.load does not look at."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"a wrong checksum of {damaged}")
