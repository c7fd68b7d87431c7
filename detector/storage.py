"""Files that are either whole or not there, and folders that one job writes to."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from detector.errors import StorageError

__all__ = ["atomic_path", "sole_writer"]

_REST = ".part"
_LOCK = ".lock"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; what is written there takes its place on success.

    After an error the temporary file is removed and what stood at `path` before stays.

    Raises:
        StorageError: If the file cannot be written, as on a full disk.
    """
    # Not by process: those of two machines that share a folder can have the same number.
    temporary = path.with_name(f".{path.name}.{uuid4().hex}{_REST}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)  # the new name is on the disk only then
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):  # where the folder is a file, there is nothing to remove
            temporary.unlink(missing_ok=True)


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Be the one job that writes to a folder; what a killed one left half-written is removed.

    The lock ends with the process, however that ends. File systems that know no locks, as some
    that show a bucket as a folder, are written to without.

    Args:
        folder: The folder; made where it is not there.

    Raises:
        StorageError: If another job writes to it, or it cannot be written.
    """
    lock = folder / _LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = lock.open("ab")
    except OSError as error:
        raise _unwritable(folder, error) from error
    with file:
        locked = _locked(file, lock, folder)
        if locked:
            _clear(folder)
            _sign(file)
        try:
            yield
            if locked:
                _clear(folder)  # of workers of this very job, where one was killed
        finally:
            with suppress(OSError):
                lock.unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    """Remove what killed processes left half-written."""
    for rest in folder.glob(f".*{_REST}"):
        rest.unlink(missing_ok=True)


def _locked(file: BinaryIO, lock: Path, folder: Path) -> bool:
    """Lock a file that another job may be about to remove; False where there are no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = lock.exists() and os.path.samestat(os.fstat(file.fileno()), lock.stat())
    except BlockingIOError:
        free = False
    except OSError:
        return False
    if not free:
        raise StorageError(
            f"{folder} should be written by one job at a time. Found {_signed(lock)} at work. "
            "Wait for its end and run the same command again, or give another folder."
        )
    return True


def _sign(file: BinaryIO) -> None:
    """Say who holds a lock, for people: what counts is the lock itself."""
    with suppress(OSError):  # a full disk holds no name, and locks all the same
        file.truncate(0)
        file.write(f"process {os.getpid()} of {socket.gethostname()}".encode())
        file.flush()


def _signed(lock: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return lock.read_text(encoding="utf-8") or "another one"
    return "another one"


def _unwritable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} should be writable. Found: {error.strerror or error}. "
        "Free some space or choose another folder and run the same command again; "
        "what was finished before is kept."
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
