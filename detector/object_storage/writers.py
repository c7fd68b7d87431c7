"""One job writes to a folder of object storage, where there are no locks."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from threading import Event, Thread
from uuid import uuid4

from detector.errors import DataError, OffpathError, StorageError
from detector.object_storage.object_path import ObjectPath

__all__ = ["sole_object_writer"]

_FLAG = ".writer-"
_BEAT_S = 5.0
_SILENCE_S = 20.0
"""A job whose storage is away for so long cannot write to it either."""


@contextmanager
def sole_object_writer(
    folder: ObjectPath, *, beat_s: float = _BEAT_S, silence_s: float = _SILENCE_S
) -> Iterator[None]:
    """Be the one job that writes to a folder.

    Each job puts a flag of its own there, and only then looks for those of others. Whoever comes
    later sees the earlier one, so that at most one goes on; of two that come in the same moment,
    perhaps none. Flags are renewed: one that stays as it is was left by a job that was killed, and
    is removed.

    Args:
        folder: The folder.
        beat_s: After how many seconds a flag is renewed.
        silence_s: After how many seconds without that its job counts as dead.

    Raises:
        StorageError: If another job writes to it, or it cannot be written.
        DataError: If it cannot be listed.
    """
    flag = folder / f"{_FLAG}{uuid4().hex}"
    flag.write_bytes(_signature())
    ended = Event()
    renewing = Thread(target=_renew, args=(flag, ended, beat_s), daemon=True)
    renewing.start()
    try:
        _outlive(folder, flag, beat_s, silence_s)
        yield
    finally:
        ended.set()
        renewing.join()  # or the flag could be put there again
        with suppress(OffpathError):  # it would say nothing that is news, and ages by itself
            flag.unlink()


def _outlive(folder: ObjectPath, own: ObjectPath, beat_s: float, silence_s: float) -> None:
    """Remove the flags of others that are not renewed; refuse where one is."""
    before = _flags(folder, own)
    end = time.monotonic() + silence_s
    while before and time.monotonic() < end:
        time.sleep(beat_s)
        now = _flags(folder, own)
        renewed = [name for name, written in before.items() if now.get(name, written) != written]
        if renewed:
            raise StorageError(
                f"{folder} should be written by one job at a time. Found "
                f"{_signed(folder / renewed[0])} at work. Wait for its end and run the same "
                "command again, or give another folder."
            )
        before = {name: written for name, written in before.items() if name in now}
    for name in before:
        (folder / name).unlink()


def _flags(folder: ObjectPath, own: ObjectPath) -> dict[str, int]:
    """When the flags of others were written."""
    found = folder.times().items()
    return {name: at for name, at in found if name.startswith(_FLAG) and name != own.name}


def _renew(flag: ObjectPath, ended: Event, beat_s: float) -> None:
    while not ended.wait(beat_s):
        with suppress(OffpathError):  # the job itself says where the storage is away
            flag.write_bytes(_signature())


def _signature() -> bytes:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return f"process {os.getpid()} of {socket.gethostname()} ({now})".encode()


def _signed(flag: ObjectPath) -> str:
    """Whose a flag is, for people: what counts is that it is renewed."""
    with suppress(FileNotFoundError, DataError):  # it may go, or change, while it is read
        return flag.read_text()
    return "another one"
