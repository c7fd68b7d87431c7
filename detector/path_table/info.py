"""What a path table is: ``table.json``, which says what should be in its folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from textwrap import shorten
from typing import Any

from detector.errors import DataError
from detector.path_table.places import Place, write_whole
from detector.paths import PathLayout
from detector.preprocessing import Preprocessing

__all__ = ["CLEAN", "ORIGINAL", "SCHEMA_VERSION", "Part", "SplitName", "TableInfo"]

CLEAN = "clean"
"""Label of the part that nothing was done to."""

ORIGINAL = "original"
"""Which copy of an image a row is about: the image itself, clean or attacked."""

SCHEMA_VERSION = 1
_FILE = "table.json"


class SplitName(StrEnum):
    """One of the four splits of a data set."""

    TRAIN = "train"
    FIT = "fit"
    CALIBRATION = "calibration"
    TEST = "test"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One split under one attack.

    Args:
        split: Which split the images come from.
        attack: Label of the attack, as ``pgd:8/255``, or ``clean``. The label of a transfer attack
            names the network that its images were made on, as ``pgd:8/255@0123456789ab``, so that
            it is never taken for an attack on the network itself.
        rows: Number of images.
        surrogate: For a transfer attack the whole digest of that network's weights.
        copies: Names of the copies of these images that the table has beside them, as ``flip``:
            each as many rows as the images themselves, in shards of their own.
    """

    split: SplitName
    attack: str
    rows: int
    surrogate: str | None = None
    copies: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """How the files of this part begin."""
        return f"{self.split}--{_slug(self.attack)}"

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        fields: dict[str, Any] = {
            "split": self.split.value,
            "attack": self.attack,
            "rows": self.rows,
        }
        if self.surrogate is not None:
            fields["surrogate"] = self.surrogate
        if self.copies:
            fields["copies"] = list(self.copies)
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Part:
        """The object that `to_json` described."""
        return cls(
            split=SplitName(fields["split"]),
            attack=fields["attack"],
            rows=fields["rows"],
            surrogate=fields.get("surrogate"),
            copies=tuple(fields.get("copies", ())),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TableInfo:
    """What a path table is, beside its rows.

    Args:
        network: Digest of the network's weights, see `detector.fingerprints.network_digest`.
        preprocessing: How images became the network's input.
        layout: Which gates belong to which layer.
        class_names: Name of each class.
        shard_size: Number of rows of every shard but a part's last.
        parts: What should be in the table.
    """

    network: str
    preprocessing: Preprocessing
    layout: PathLayout
    class_names: tuple[str, ...]
    shard_size: int
    parts: tuple[Part, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "network": self.network,
            "preprocessing": self.preprocessing.to_json(),
            "layers": dict(zip(self.layout.names, self.layout.sizes, strict=True)),
            "class_names": list(self.class_names),
            "shard_size": self.shard_size,
            "parts": [part.to_json() for part in self.parts],
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> TableInfo:
        """The object that `to_json` described."""
        return cls(
            network=fields["network"],
            preprocessing=Preprocessing.from_json(fields["preprocessing"]),
            layout=PathLayout(
                names=tuple(fields["layers"]), sizes=tuple(fields["layers"].values())
            ),
            class_names=tuple(fields["class_names"]),
            shard_size=fields["shard_size"],
            parts=tuple(Part.from_json(part) for part in fields["parts"]),
        )

    def shards_of(self, part: Part, copy: str = ORIGINAL) -> Iterator[tuple[str, range]]:
        """File name of each shard of a part, with the rows of the part that it holds.

        Args:
            part: Which part.
            copy: Name of the copy of its images, or the images themselves.
        """
        stem = part.stem if copy == ORIGINAL else f"{part.stem}--copy-{_slug(copy)}"
        for index, start in enumerate(range(0, part.rows, self.shard_size)):
            rows = range(start, min(start + self.shard_size, part.rows))
            yield f"{stem}--{index:05d}.parquet", rows

    def check_same_source(self, other: TableInfo, folder: Place) -> None:
        """Refuse to mix tables of two networks or data sets; their parts may differ.

        Args:
            other: What is to be added.
            folder: Where this table lies.

        Raises:
            DataError: If the two are not of the same source.
        """
        for name in ("network", "preprocessing", "layout", "class_names", "shard_size"):
            there, now = getattr(self, name), getattr(other, name)
            if there != now:
                raise DataError(
                    f"{folder} should hold a path table with the same {name.replace('_', ' ')}. "
                    f"Found {shorten(str(there), 100)} there and {shorten(str(now), 100)} now. "
                    "Give another output folder."
                )

    def write(self, folder: Place) -> None:
        """Write ``table.json``, whole or not at all.

        Raises:
            StorageError: If it cannot be written.
        """
        content = json.dumps(self.to_json(), indent=2) + "\n"
        write_whole(folder / _FILE, content.encode())

    @staticmethod
    def is_in(folder: Place) -> bool:
        """Whether a folder holds a path table, finished or not."""
        return (folder / _FILE).is_file()

    @classmethod
    def read(cls, folder: Place) -> TableInfo:
        """Read ``table.json``.

        Raises:
            DataError: If it is missing, unreadable or of another schema version.
        """
        path = folder / _FILE
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            version = fields["schema_version"]
            if version == SCHEMA_VERSION:
                return cls.from_json(fields)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{folder} should be a path table written by `offpath extract`. "
                f"Found no usable {_FILE} ({error}). Extract one, or give its folder."
            ) from error
        raise DataError(
            f"{path} should have schema version {SCHEMA_VERSION}. Found {version}. "
            "Extract the table again with this version of offpath."
        )


def _slug(name: str) -> str:
    """A name as part of a file's name."""
    return "".join(c if c.isalnum() or c == "." else "-" for c in name)
