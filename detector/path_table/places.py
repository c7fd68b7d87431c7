"""Where a table can lie: in a folder of this machine, or of object storage."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

from detector.object_storage import ObjectPath, sole_object_writer
from detector.storage import atomic_path, sole_writer

__all__ = ["Place", "at_once", "files_there", "place_of", "sole_writer_of", "whole", "write_whole"]

Place = Path | ObjectPath
"""A folder or file, here or in object storage; both know what is asked of either."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
_FEW = 16
_REQUESTS = 16


def place_of(text: str) -> Place:
    """The folder that a path or an address names.

    Args:
        text: Such as ``runs/paths``, ``s3://bucket/paths`` or ``file:///shared/paths``.
    """
    if not _ADDRESS.match(text):
        return Path(text)
    if urlsplit(text).scheme == "file":
        return Path(unquote(urlsplit(text).path))
    return ObjectPath(folder=text)


def sole_writer_of(folder: Place) -> AbstractContextManager[None]:
    """Be the one job that writes to a folder.

    Raises:
        StorageError: If another job writes to it, or it cannot be written.
    """
    return sole_object_writer(folder) if isinstance(folder, ObjectPath) else sole_writer(folder)


@contextmanager
def whole(path: Place) -> Iterator[Path | BytesIO]:
    """Where to write a file that appears at `path` once it is whole, and not at all otherwise.

    Raises:
        StorageError: If it cannot be written.
    """
    if isinstance(path, ObjectPath):
        content = BytesIO()
        yield content
        path.write_bytes(content.getbuffer())
    else:
        with atomic_path(path) as temporary:
            yield temporary


def write_whole(path: Place, content: bytes) -> None:
    """Write a file that appears once it is whole, and not at all otherwise.

    Raises:
        StorageError: If it cannot be written.
    """
    with whole(path) as place:
        if isinstance(place, Path):
            place.write_bytes(content)
        else:
            place.write(content)


def files_there(folder: Place, names: Collection[str]) -> frozenset[str]:
    """Those of some names that are files in a folder.

    Raises:
        DataError: If that cannot be told.
    """
    if isinstance(folder, ObjectPath) and len(names) > _FEW:
        return folder.names().intersection(names)
    return frozenset(name for name in names if (folder / name).is_file())


def at_once(folder: Place) -> int:
    """How many files to look into at a time: where each is waited for, more than one."""
    return _REQUESTS if isinstance(folder, ObjectPath) else 1
