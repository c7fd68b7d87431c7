"""What all reports of jobs share: one JSON file each, of a version that says how it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Self

from detector.errors import DataError, InvalidInputError
from detector.jobs.plain_values import PlainValueError, read_plain, to_plain
from detector.storage import atomic_path

__all__ = ["JsonReport"]


class JsonReport:
    """A report that is a frozen dataclass, with `read_plain`'s types of fields.

    A subclass names itself and has a field ``schema_version`` with `version` as its default.
    """

    __slots__ = ()

    kind: ClassVar[str]
    """What it is called, as ``a report``."""
    made_by: ClassVar[str]
    """The command that writes it, as ``offpath evaluate``."""
    version: ClassVar[int]
    """The version of its format that is read."""
    indent: ClassVar[int | None] = 1
    """Spaces a level in the file; None for one line."""

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_json(cls, fields: object) -> Self:
        """The report whose `to_json` this is.

        Args:
            fields: What a JSON reader gave.

        Raises:
            DataError: If it is of another schema version or not such a report.
        """
        name = f"{cls.kind[0].upper()}{cls.kind[1:]}"
        version = fields.get("schema_version") if isinstance(fields, dict) else None
        if isinstance(version, int) and version != cls.version:
            raise DataError(
                f"{name} should have schema version {cls.version}. Found {version}. "
                f"Run `{cls.made_by}` again with this version of offpath."
            )
        try:
            return read_plain(cls, fields)
        except (PlainValueError, InvalidInputError) as error:
            raise DataError(
                f"{name} should be as `{cls.made_by}` wrote it. Found otherwise: {error}"
            ) from error

    def write(self, path: Path) -> None:
        """Write the report as JSON, whole or not at all.

        Args:
            path: Where to.

        Raises:
            StorageError: If the file cannot be written.
        """
        separators = (",", ":") if self.indent is None else None
        text = json.dumps(
            self.to_json(), indent=self.indent, separators=separators, allow_nan=False
        )
        with atomic_path(path) as temporary:
            temporary.write_text(f"{text}\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a report.

        Args:
            path: A file that `write` wrote.

        Raises:
            DataError: If it cannot be read or is no such report of this schema version.
        """
        try:
            return cls.from_json(json.loads(path.read_bytes()))
        except (OSError, ValueError, RecursionError, DataError) as error:
            raise DataError(
                f"{path} should be {cls.kind} that `{cls.made_by}` wrote. Found: {error}"
            ) from error
