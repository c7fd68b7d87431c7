"""The images behind a sample, read again where their paths alone do not do."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.data import Images
from detector.errors import DataError
from detector.jobs.interpretation.concepts import Concept
from detector.jobs.interpretation.sample import PathSample
from detector.preprocessing import Preprocessing

__all__ = ["SampleImages"]


class SampleImages:
    """The images of a sample; none is kept in memory.

    Args:
        sample: Images with their paths.
        images: Those of its split.
        preprocessing: How they become the network's input.

    Raises:
        DataError: If the images are others than those of the sample.
    """

    def __init__(self, sample: PathSample, images: Images, preprocessing: Preprocessing) -> None:
        ids, source = sample.image_ids, images.source
        if int(ids.max()) >= len(source) or (source.labels[ids] != sample.labels).any():
            raise DataError(
                f"The data should be those that the table's {sample.split} images were extracted "
                "from. Found other images or labels. Give the same --data as to extract."
            )
        self.sample = sample
        self._source = source
        self._preprocessing = preprocessing

    @property
    def pixels(self) -> int:
        """Pixels of an input of the network."""
        return self._preprocessing.height * self._preprocessing.width

    def inputs(self, rows: NDArray[np.int64], device: torch.device) -> Tensor:
        """Inputs of the network, float of shape (B, 3, H, W).

        Args:
            rows: Which images of the sample, int64 of shape (B,).
            device: Where they go.
        """
        ids = self.sample.image_ids[rows].tolist()
        pixels = self._source.read(ids, self._preprocessing)
        return self._preprocessing(pixels.to(device, memory_format=torch.channels_last))

    def having(
        self, concept: Concept, limit: int, generator: np.random.Generator
    ) -> NDArray[np.int64]:
        """Images that have a concept, all of them or some at random, in the order of the sample.

        Args:
            concept: The concept.
            limit: Most images.
            generator: What they are drawn with.
        """
        marks = concept.marks(self.sample)
        return _some_of(marks.known & marks.members, limit, generator)

    def lacking(
        self, concept: Concept, limit: int, generator: np.random.Generator
    ) -> NDArray[np.int64]:
        """Images of which it is known that they have not a concept; otherwise as `having`."""
        marks = concept.marks(self.sample)
        return _some_of(marks.known & ~marks.members, limit, generator)


def _some_of(
    which: NDArray[np.bool_], limit: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    rows = np.flatnonzero(which)
    return np.sort(generator.choice(rows, size=min(limit, len(rows)), replace=False))
