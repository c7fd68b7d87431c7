"""Reads the lines of a CSV file that a user wrote, and says which of them is wrong."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from detector.errors import DataError

__all__ = ["no_concept", "read_lines", "wrong_line"]


def read_lines(path: Path, header: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """The lines below the header that are not empty: each one's number in the file and fields.

    Args:
        path: The file.
        header: What its first line should say.

    Raises:
        DataError: If the file cannot be read or starts with another header.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.reader(stream, strict=True)
            found = next(reader, [])
            if [each.strip() for each in found] != [*header]:
                raise DataError(
                    f"{path}, line 1: the header should be {','.join(header)}. "
                    f"Found {','.join(found)!r}. Write it so."
                )
            for fields in reader:
                if fields:
                    yield reader.line_num, [each.strip() for each in fields]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} should be a readable CSV file. Found: {error}.") from error


def wrong_line(path: Path, number: int, should: str, found: object) -> DataError:
    """The error of a line: where it stands, what there should be and what is there."""
    return DataError(f"{path}, line {number}: there should be {should}. Found {found}.")


def no_concept(path: Path) -> DataError:
    """The error of a file none of whose lines names a concept."""
    return DataError(f"{path} should name at least one concept. Found none in any line.")
