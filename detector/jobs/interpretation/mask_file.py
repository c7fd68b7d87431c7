"""Reads where concepts are in images: a CSV file of image, mask, concept.

    image,mask,concept
    17,masks/17-wheel.png,wheel
    17,masks/17-sky.png,sky
    photos/bus.jpg,masks/bus-wheel.png,wheel
    23,,

An image is the index of an image of the split that is checked on, or the path of an image file; a
mask is a PNG file of the image's size, whose pixels that are not black have the concept. Paths
start at the folder of the file. Wherever an image of the file has no mask of a concept, it has not
the concept; a line without mask and concept says that an image has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from detector.data import Images
from detector.errors import ImageError
from detector.images import decode_image, is_png
from detector.jobs.interpretation.csv_lines import no_concept, read_lines, wrong_line
from detector.preprocessing import Preprocessing

__all__ = ["MaskedImages", "read_masks"]

_HEADER = ["image", "mask", "concept"]
_LEAST = 2
"""Images of a concept: one to find filters with, and one to check them on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    """A line that was understood: where it stands and what it says; no mask, no concept."""

    number: int
    image: int | Path
    mask: Path | None
    concept: str


class MaskedImages:
    """Images with the places of concepts, read on demand: only their names are kept.

    Args:
        concepts: Names of the concepts, in the order of the file.
        lines: For each image its lines.
        images: The split whose images are named by index.
        preprocessing: How images become the network's input.
        path: The file, for errors.
    """

    def __init__(
        self,
        concepts: Sequence[str],
        lines: Sequence[Sequence[_Line]],
        images: Images,
        preprocessing: Preprocessing,
        path: Path,
    ) -> None:
        self.concepts = tuple(concepts)
        self.preprocessing = preprocessing
        self._lines = lines
        self._images = images
        self.path = path

    def __len__(self) -> int:
        return len(self._lines)

    def having(self, index: int) -> tuple[int, ...]:
        """Which concepts an image has, as indices."""
        names = {line.concept for line in self._lines[index] if line.concept}
        return tuple(place for place, name in enumerate(self.concepts) if name in names)

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """An image and its masks, both as the network sees them: resized and cropped alike.

        Args:
            index: Which image, in the order of the file.

        Returns:
            Pixels, uint8 of shape (3, H, W), and for each concept where it is, bool of (K, H, W).

        Raises:
            DataError: If image or mask cannot be read, differ in size, or nothing of a mask is
                within what the network sees; the line is told.
        """
        lines = self._lines[index]
        picture = self._picture(lines[0])
        pixels = self.preprocessing.fit(picture)
        masks = torch.zeros((len(self.concepts), *pixels.shape[1:]), dtype=torch.bool)
        for line in lines:
            if line.mask is not None:
                masks[self.concepts.index(line.concept)] |= self._mask(line, line.mask, picture)
        return pixels, masks

    def _picture(self, line: _Line) -> Tensor:
        if isinstance(line.image, int):
            return self._images.source.load(line.image)
        try:
            return decode_image(line.image.read_bytes())
        except (OSError, ImageError) as error:
            raise wrong_line(self.path, line.number, "a readable image", error) from error

    def _mask(self, line: _Line, file: Path, picture: Tensor) -> Tensor:
        try:
            content = file.read_bytes()
            mask = decode_image(content)
        except (OSError, ImageError) as error:
            raise wrong_line(self.path, line.number, "a readable mask", error) from error
        if not is_png(content):
            raise wrong_line(self.path, line.number, "a PNG mask, which keeps every pixel", file)
        (height, width), (rows, columns) = picture.shape[1:], mask.shape[1:]
        if (height, width) != (rows, columns):
            should = f"a mask of the image's {width} x {height} pixels"
            raise wrong_line(self.path, line.number, should, f"{file} of {columns} x {rows}")
        marked = (mask != 0).any(dim=0).to(torch.uint8) * 255
        seen = self.preprocessing.fit(marked.expand(3, -1, -1).contiguous())[0] > 127
        if not seen.any():
            should = f"a mask that marks some of what the network sees of {line.concept!r}"
            raise wrong_line(self.path, line.number, should, f"nothing in {file}")
        return seen


def read_masks(path: Path, images: Images, preprocessing: Preprocessing) -> MaskedImages:
    """The images and masks of a file, each looked at once, so that a wrong one is told at once.

    Args:
        path: The file.
        images: The split whose images are named by index.
        preprocessing: How images become the network's input.

    Raises:
        DataError: If the file cannot be read, or a line, its image or its mask is wrong.
    """
    known = set(images.ids.tolist())
    by_image: dict[int | Path, list[_Line]] = {}
    for number, fields in read_lines(path, _HEADER):
        line = _line(path, number, fields)
        if isinstance(line.image, int) and line.image not in known:
            should = f"the index of one of {len(known)} images that are checked on"
            raise wrong_line(path, line.number, should, line.image)
        by_image.setdefault(line.image, []).append(line)
    lines = list(by_image.values())
    concepts = _concepts(path, lines)
    found = MaskedImages(concepts, lines, images, preprocessing, path)
    for index in range(len(found)):
        found.read(index)
    return found


def _concepts(path: Path, lines: Sequence[Sequence[_Line]]) -> tuple[str, ...]:
    """The concepts, each of which enough images have."""
    images: dict[str, set[int | Path]] = {}
    first: dict[str, int] = {}
    for line in sorted((each for of_one in lines for each in of_one), key=lambda x: x.number):
        if line.concept:
            images.setdefault(line.concept, set()).add(line.image)
            first.setdefault(line.concept, line.number)
    if not images:
        raise no_concept(path)
    for name, having in images.items():
        if len(having) < _LEAST:
            should = f"masks of {name!r} for at least {_LEAST} images"
            raise wrong_line(path, first[name], should, f"{len(having)} in the whole file")
    return tuple(images)


def _line(path: Path, number: int, fields: list[str]) -> _Line:
    if len(fields) != len(_HEADER):
        raise wrong_line(path, number, "an image, a mask and a concept", ",".join(fields))
    image, mask, concept = fields
    if not image:
        raise wrong_line(path, number, "an image", ",".join(fields))
    if bool(mask) != bool(concept):
        raise wrong_line(path, number, "both a mask and a concept, or neither", ",".join(fields))
    return _Line(
        number=number,
        image=int(image) if image.isascii() and image.isdigit() else path.parent / image,
        mask=path.parent / mask if mask else None,
        concept=concept,
    )
