"""The path table: what a network did with clean and attacked images, in Parquet shards.

A table is a folder, here or in object storage. Its ``table.json`` says what should be in it: for
each part (one split under one attack) its number of rows. Each shard holds a fixed number of rows
of one part, and its Parquet metadata says what it was made from, so that no shard is taken for
another's.

Copies of a part's images (flips, shifts, ...) lie in shards beside those of the images themselves.
Each names the bytes of the shard whose images it copies: what is read together belongs together.
"""

from detector.path_table.info import (
    CLEAN,
    ORIGINAL,
    SCHEMA_VERSION,
    Part,
    SplitName,
    TableInfo,
)
from detector.path_table.places import Place, at_once, files_there, place_of, sole_writer_of
from detector.path_table.reader import PathTable
from detector.path_table.rows import (
    CalibrationRows,
    CopiedRows,
    PathRows,
    batch_from_rows,
    rows_from_batch,
)
from detector.path_table.shards import (
    check_shard,
    read_shard,
    read_shard_info,
    shard_digest,
    write_shard,
)

__all__ = [
    "CLEAN",
    "ORIGINAL",
    "SCHEMA_VERSION",
    "CalibrationRows",
    "CopiedRows",
    "Part",
    "PathRows",
    "PathTable",
    "Place",
    "SplitName",
    "TableInfo",
    "at_once",
    "batch_from_rows",
    "check_shard",
    "files_there",
    "place_of",
    "read_shard",
    "read_shard_info",
    "rows_from_batch",
    "shard_digest",
    "sole_writer_of",
    "write_shard",
]
