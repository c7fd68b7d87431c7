"""Shards of a path table: Parquet files that say what they were made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from io import BufferedReader
from pathlib import Path
from textwrap import shorten
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from detector.errors import DataError
from detector.path_table.places import Place, whole

__all__ = ["check_shard", "read_shard", "read_shard_info", "shard_digest", "write_shard"]

_METADATA = b"offpath"


def write_shard(path: Place, table: pa.Table, info: dict[str, Any]) -> None:
    """Write one shard, whole or not at all; the same rows give the same bytes.

    Args:
        path: Where to.
        table: Its rows.
        info: What it was made from, as JSON values; `read_shard_info` gives it back.

    Raises:
        StorageError: If it cannot be written.
    """
    metadata = {_METADATA: json.dumps(info, sort_keys=True).encode()}
    with whole(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")


def read_shard_info(path: Place) -> dict[str, Any]:
    """What a shard was made from.

    Raises:
        DataError: If it is damaged or no shard of a path table.
    """
    try:
        with _readable(path) as file:
            metadata = pq.read_schema(file).metadata or {}
        info: dict[str, Any] = json.loads(metadata[_METADATA])
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise _damaged(path, error) from error
    return info


def check_shard(path: Place, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuse a shard that was made from something else.

    Args:
        path: Where the shard lies.
        found: What it was made from, see `read_shard_info`.
        expected: What it should have been made from; facts that are not named do not matter.

    Raises:
        DataError: If one of the facts differs.
    """
    for name, value in json.loads(json.dumps(expected)).items():
        if found.get(name) != value:
            raise DataError(
                f"{path} should have been made with {name} {_short(value)}. "
                f"Found {_short(found.get(name))}. "
                "Give another output folder, or delete the shards that are out of date."
            )


def read_shard(path: Place, batch_size: int) -> Iterator[pa.RecordBatch]:
    """The rows of a shard, in order, a few at a time.

    Raises:
        DataError: If it is damaged.
    """
    try:
        with _readable(path) as source, pq.ParquetFile(source) as file:
            yield from file.iter_batches(batch_size)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def shard_digest(path: Place) -> str:
    """SHA-256 of a shard's bytes, as hex.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"{path} should be a readable shard. Found: {error.strerror or error}. "
            "Delete it and run the same `offpath extract` again."
        ) from error


def _readable(path: Place) -> AbstractContextManager[Path | BufferedReader]:
    """What pyarrow reads a file from: here it opens the file by itself."""
    return nullcontext(path) if isinstance(path, Path) else path.open("rb")


def _short(value: Any) -> str:
    return shorten(value if isinstance(value, str) else json.dumps(value), 100)


def _damaged(path: Place, error: Exception) -> DataError:
    return DataError(
        f"{path} should be a whole shard of a path table. Found: {error}. "
        "Delete it and run the same `offpath extract` again."
    )
