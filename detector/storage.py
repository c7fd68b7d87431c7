"""Files that are either whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from detector.errors import StorageError

__all__ = ["atomic_path"]


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; what is written there takes its place on success.

    After an error the temporary file is removed and what stood at `path` before stays.

    Raises:
        StorageError: If the file cannot be written, as on a full disk.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)  # the new name is on the disk only then
    except OSError as error:
        raise StorageError(
            f"{path} should be writable. Found: {error.strerror or error}. "
            "Free some space or choose another folder and run the same command again; "
            "what was finished before is kept."
        ) from error
    finally:
        with suppress(OSError):  # where the folder is a file, there is nothing to remove
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
