"""What a training reports after each epoch: ``log.jsonl``, and the same in TensorBoard."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from detector.errors import StorageError
from detector.storage import atomic_path

__all__ = ["TrainingLog"]

_OF_A_LAYER = ("open_share", "diversity", "information")


class TrainingLog:
    """Writes the log of one run.

    Args:
        folder: The run's output folder.
        quiet: Whether to write nothing, as in all but one of several processes.
    """

    def __init__(self, folder: Path, *, quiet: bool = False) -> None:
        self._folder = folder
        self._rows = folder / "log.jsonl"
        self._quiet = quiet
        self._writer: SummaryWriter | None = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Keep the TensorBoard log open meanwhile.

        Raises:
            StorageError: If the folder cannot be written to.
        """
        if not self._quiet:
            with self._writing():
                self._writer = SummaryWriter(self._folder / "tensorboard")
        try:
            yield
        finally:
            if self._writer is not None:
                with self._writing():
                    self._writer.close()

    def go_back(self, phase: str, epochs: int) -> None:
        """Take out the rows of epochs that come again, after a stop between two checkpoints.

        Args:
            phase: The phase that starts or continues.
            epochs: How many of its epochs are done.

        Raises:
            StorageError: If the log cannot be written.
        """
        if self._quiet:
            return
        with self._writing():
            lines = self._rows.read_text().splitlines() if self._rows.exists() else []
            kept = [line for line in lines if _stays(line, phase, epochs)]
            if len(kept) < len(lines):
                with atomic_path(self._rows) as temporary:
                    temporary.write_text("".join(f"{line}\n" for line in kept))

    def add(
        self, phase: str, epoch: int, values: dict[str, float], layers: list[dict[str, Any]]
    ) -> None:
        """Write one epoch.

        Args:
            phase: Which phase.
            epoch: Its epochs that are done, this one included.
            values: Figures of the whole network, by name.
            layers: Figures of each gated layer, with its name.

        Raises:
            StorageError: If the log cannot be written.
        """
        if self._writer is None:
            return
        row = {"phase": phase, "epoch": epoch, **values, "layers": layers}
        with self._writing():
            with self._rows.open("a") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())  # the next checkpoint must not be there without it
            for name, value in values.items():
                self._writer.add_scalar(f"{phase}/{name}", value, epoch)
            for layer in layers:
                for key in _OF_A_LAYER:
                    self._writer.add_scalar(f"{phase}/{key}/{layer['name']}", layer[key], epoch)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"{self._folder} should be a folder that can be written to. "
                f"Found: {error.strerror or error}. Free some space or choose another --output and "
                "run the same command again; finished checkpoints are kept."
            ) from error


def _stays(line: str, phase: str, epochs: int) -> bool:
    """Whether a row is of another phase or of an epoch that is done; half a row goes."""
    try:
        row = json.loads(line)
        return bool(row["phase"] != phase or row["epoch"] <= epochs)
    except (ValueError, KeyError, TypeError):
        return False
