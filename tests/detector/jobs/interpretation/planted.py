"""Images with coloured shapes at known places, and a network whose filters respond to colours."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from detector.data import ArraySource, Images
from detector.decoupling import DecoupledNetwork
from detector.jobs.interpretation.mask_file import MaskedImages, read_masks
from detector.preprocessing import Preprocessing

__all__ = ["CONCEPTS", "SIDE", "Planted", "planted", "planted_network"]

SIDE = 32
PREPROCESSING = Preprocessing(
    height=SIDE, width=SIDE, shorter_side=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3
)

_COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 220, 30),
    "blue": (30, 30, 220),
    "yellow": (220, 220, 30),
}
CONCEPTS = {
    "red": ("red",),
    "blue": ("blue",),
    "yellow": ("yellow",),
    "red or blue": ("red", "blue"),
}
"""Each concept and the colours that it stands for: by one filter, by two that agree, by either."""

_FILTERS = (
    (1.0, 0.0, 0.0),  # red and yellow
    (0.0, 1.0, 0.0),  # green and yellow
    (1.0, -1.0, -1.0),  # red alone
    (-1.0, -1.0, 1.0),  # blue alone
    (-1.0, -1.0, -1.0),  # nothing
    (4.0, -4.0, -4.0),  # red alone, but its gate is closed
)
CLOSED = 5


class ColourFilters(nn.Module):
    """Smooths its input at half the size and weighs colours; its classes mean nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1, bias=False)
        self.second = nn.Conv2d(3, len(_FILTERS), 2, stride=2, bias=False)
        self.classify = nn.Linear(len(_FILTERS), 2)
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(3)[:, :, None, None])
            self.second.weight.copy_(
                torch.tensor(_FILTERS)[:, :, None, None].expand(-1, -1, 2, 2) / 4
            )

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.relu(self.second(self.first(images)))
        logits: Tensor = self.classify(maps.mean(dim=(2, 3)))
        return logits


def planted_network() -> DecoupledNetwork:
    """The network, with every gate open but the last."""
    network = DecoupledNetwork(ColourFilters()).eval()
    (controller,) = network.controllers
    with torch.no_grad():
        controller.excite.weight.zero_()
        controller.excite.bias.fill_(1.0)
        controller.excite.bias[CLOSED] = -1.0
    return network


@dataclass(frozen=True, kw_only=True, slots=True)
class Planted:
    """The images, and the file that says where what is in them.

    Args:
        images: The images.
        file: The CSV file of masks, in a folder with them.
    """

    images: Images
    file: Path

    def read(self) -> MaskedImages:
        """The images with their masks."""
        return read_masks(self.file, self.images, PREPROCESSING)


def planted(folder: Path, *, count: int = 80, seed: int = 0) -> Planted:
    """Draw images, a square or a disc of some colours in each, and write the masks.

    Args:
        folder: Where masks and file go.
        count: Number of images.
        seed: Seed of colours, places and noise.
    """
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 30, (count, SIDE, SIDE, 3), dtype=np.uint8)
    lines = [("image", "mask", "concept")]
    for index in range(count):
        drawn = _draw(pixels[index], generator)
        for concept, colours in CONCEPTS.items():
            mask = np.isin(drawn, [1 + list(_COLOURS).index(name) for name in colours])
            if mask.any():
                name = f"{index}-{concept.replace(' ', '-')}.png"
                Image.fromarray(mask.astype(np.uint8) * 255).save(folder / name)
                lines.append((str(index), name, concept))
        if lines[-1][0] != str(index):  # none of the concepts: it counts as well
            lines.append((str(index), "", ""))
    file = folder / "masks.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(lines)
    source = ArraySource(pixels, np.arange(count) % 2, ("even", "odd"))
    return Planted(images=Images(source, np.arange(count)), file=file)


def _draw(pixels: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw shapes, one in each quarter at most; returns 1 + the colour of each pixel, or 0."""
    drawn = np.zeros((SIDE, SIDE), dtype=np.int64)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    quarters = generator.permutation(4)
    for number, colour in enumerate(_COLOURS.values()):
        if generator.random() < 0.5:
            continue
        top, left = np.array(divmod(int(quarters[number]), 2)) * SIDE // 2
        radius = int(generator.integers(4, 7))
        y, x = (int(corner + generator.integers(radius, 16 - radius)) for corner in (top, left))
        if generator.random() < 0.5:
            shape = np.hypot(rows - y, columns - x) <= radius
        else:
            shape = np.maximum(abs(rows - y), abs(columns - x)) <= radius
        pixels[shape], drawn[shape] = colour, 1 + number
    return drawn
