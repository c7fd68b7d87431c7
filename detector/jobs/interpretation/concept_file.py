"""Reads the concepts that a user gives: a CSV file of split, image, concept.

    split,image,concept
    train,17,striped
    train,17,indoors
    train,23,
    calibration,5,striped

An image has the concepts of its lines and none of the others that the file names; a line without a
concept says that it has none. Of images without a line, nothing is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from detector.errors import DataError
from detector.jobs.interpretation.concepts import LabelledConcept
from detector.jobs.interpretation.csv_lines import no_concept, read_lines, wrong_line
from detector.path_table import PathTable, SplitName

__all__ = ["read_concepts"]

_HEADER = ["split", "image", "concept"]
_Image = tuple[SplitName, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    """A line that was understood: where it stands and what it says."""

    number: int
    image: _Image
    concept: str


def read_concepts(
    path: Path, table: PathTable, splits: tuple[SplitName, ...]
) -> tuple[LabelledConcept, ...]:
    """The concepts of a file.

    Args:
        path: The file.
        table: The path table, which should have the images; memory is that of the file.
        splits: The splits that are looked at; each concept should have images in each of them, and
            be missing in others.

    Raises:
        DataError: If the file cannot be read or a line is wrong; its number is told.
    """
    lines = [_line(path, number, fields, splits) for number, fields in read_lines(path, _HEADER)]
    if not lines:
        raise DataError(f"{path} should hold lines of split,image,concept. Found the header alone.")
    _check_images(path, lines, table)
    concepts = dict.fromkeys(line.concept for line in lines if line.concept)
    if not concepts:
        raise no_concept(path)
    images = dict.fromkeys(line.image for line in lines)
    found = []
    for name in concepts:
        having = {line.image for line in lines if line.concept == name}
        marks = {image: image in having for image in images}
        for split in splits:
            kinds = {has for (where, _), has in marks.items() if where is split}
            if kinds != {True, False}:
                first = next(line.number for line in lines if line.concept == name)
                raise DataError(
                    f"{path}, line {first}: {name!r} should have {split} images, and be missing "
                    f"in others of them that the file names. Found only "
                    f"{'images that have it' if True in kinds else 'images without it'}. "
                    "Add lines; one without a concept tells that an image has none."
                )
        found.append(LabelledConcept(name, marks))
    return tuple(found)


def _line(path: Path, number: int, fields: list[str], splits: tuple[SplitName, ...]) -> _Line:
    if len(fields) != len(_HEADER):
        raise wrong_line(path, number, "a split, an image and a concept", repr(",".join(fields)))
    split, image, concept = fields
    if split not in splits:
        raise wrong_line(
            path, number, f"a split that is looked at, {' or '.join(splits)}", repr(split)
        )
    if not (image.isascii() and image.isdigit()):
        raise wrong_line(path, number, "the index of an image, from 0", repr(image))
    return _Line(number=number, image=(SplitName(split), int(image)), concept=concept)


def _check_images(path: Path, lines: list[_Line], table: PathTable) -> None:
    """Refuse the first line whose image the table has not."""
    missing = {line.image for line in lines}
    for split in {split for split, _ in missing}:
        for batch in table.batches(split):
            missing.difference_update((split, index) for index in batch.image_ids.tolist())
    for line in lines:
        if line.image in missing:
            split, index = line.image
            raise wrong_line(
                path, line.number, f"a {split} image of {table.folder}", repr(str(index))
            )
