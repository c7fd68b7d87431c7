"""A file or folder of object storage, with what tables need of `pathlib.Path`."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import ENOENT
from os import SEEK_CUR, SEEK_END, SEEK_SET
from typing import Any

from pyarrow import ArrowException
from pyarrow import fs as pafs
from typing_extensions import override

from detector.errors import DataError, OffpathError, StorageError
from detector.object_storage.file_systems import opened, reason

__all__ = ["ObjectPath"]

_READ_AHEAD_BYTES = 2**23
"""Of each request: latency is what it costs, not bytes."""
_ADVICE = (
    "Check the address, its endpoint and region, the credentials, and that they may list, read, "
    "write and delete there; then run the same command again: what was finished is kept."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectPath:
    """A file or folder of object storage.

    It holds its address alone and no connection: processes connect for themselves.

    Args:
        folder: Address of the folder that everything lies in, such as ``s3://bucket/paths``.
        within: Path within it, by default of the folder itself.
    """

    folder: str
    within: str = ""

    def __truediv__(self, name: str) -> ObjectPath:
        return ObjectPath(folder=self.folder, within=f"{self.within}/{name}".lstrip("/"))

    def __str__(self) -> str:
        address = self.folder.partition("?")[0].rstrip("/")
        return f"{address}/{self.within}" if self.within else address

    @property
    def name(self) -> str:
        """The last part of its address."""
        return str(self).rpartition("/")[2]

    def is_file(self) -> bool:
        """Whether there is such a file; folders are but parts of names here.

        Raises:
            DataError: If that cannot be told.
        """
        with self._told(DataError, "readable"):
            system, path = self._opened()
            return bool(system.get_file_info(path).type == pafs.FileType.File)

    def names(self) -> frozenset[str]:
        """Names of the files in a folder, by one request for a thousand of them.

        Raises:
            DataError: If they cannot be listed.
        """
        return frozenset(self.times())

    def times(self) -> dict[str, int]:
        """By its name, when each file in a folder was written, in ns as the storage counts them.

        Raises:
            DataError: If they cannot be listed.
        """
        with self._told(DataError, "readable"):
            system, path = self._opened()
            found = system.get_file_info(pafs.FileSelector(path, allow_not_found=True))
        files = (each for each in found if each.type == pafs.FileType.File)
        return {each.base_name: each.mtime_ns for each in files}

    def open(self, _mode: str = "rb") -> io.BufferedReader:
        """The bytes of a file, read ahead by some.

        What fails while they are read is told as a `DataError` as well, so that nobody takes it
        for a damaged file.

        Raises:
            FileNotFoundError: If there is no such file.
            DataError: If it cannot be read.
        """
        system, path = self._opened()
        with self._told(DataError, "readable"):
            try:
                file = system.open_input_file(path)
            except FileNotFoundError:
                file = None
        if file is None:
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(self))
        return io.BufferedReader(_Reader(self, file), _READ_AHEAD_BYTES)

    def read_text(self, encoding: str = "utf-8") -> str:
        """The text of a file.

        Raises:
            FileNotFoundError: If there is no such file.
            DataError: If it cannot be read.
        """
        with self.open() as file:
            return file.read().decode(encoding)

    def write_bytes(self, content: bytes | memoryview) -> None:
        """Write a file, whole or not at all; it takes the place of what was there.

        Raises:
            StorageError: If it cannot be written.
        """
        system, path = self._opened()
        with self._told(StorageError, "writable"), system.open_output_stream(path) as file:
            file.write(content)

    def unlink(self) -> None:
        """Remove a file, if it is there.

        Raises:
            StorageError: If it cannot be removed.
        """
        system, path = self._opened()
        with self._told(StorageError, "writable"), suppress(FileNotFoundError):
            system.delete_file(path)

    def _opened(self) -> tuple[Any, str]:
        system, path = opened(self.folder)
        return system, "/".join(filter(None, (path.rstrip("/"), self.within)))

    @contextmanager
    def _told(self, kind: type[OffpathError], should: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ArrowException) as error:
            raise kind(f"{self} should be {should}. Found: {reason(error)}. {_ADVICE}") from error


class _Reader(io.RawIOBase):
    """A file of pyarrow whose errors are told."""

    def __init__(self, path: ObjectPath, file: Any) -> None:
        super().__init__()
        self._path = path
        self._file = file

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def tell(self) -> int:
        return int(self._file.tell())

    @override
    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        starts = {SEEK_SET: 0, SEEK_CUR: self._file.tell(), SEEK_END: self._file.size()}
        return int(self._file.seek(starts[whence] + offset))

    def readinto(self, buffer: Any, /) -> int:
        with self._path._told(DataError, "readable"):
            return int(self._file.readinto(buffer))

    @override
    def close(self) -> None:
        self._file.close()
        super().close()
