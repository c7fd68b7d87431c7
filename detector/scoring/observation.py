"""What the network tells about images: their paths, their class logits, and those of copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from detector.paths import PathVectors

__all__ = ["Observation"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What one pass of the network tells about a batch of images, and about copies of them.

    An attacker's own observation may hold soft bits in [0, 1] with a gradient in place of bools:
    every score takes both.

    Args:
        path: The paths of the images.
        class_logits: Unnormalised class scores, float of shape (B, K), K at least 2.
        copies: The same about one copy of each image, by the copy's name, such as ``flip``.

    Raises:
        ValueError: If the parts are not about the same number of images, classes and gates.
    """

    path: PathVectors
    class_logits: Tensor
    copies: Mapping[str, Observation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = tuple(self.class_logits.shape)
        if len(shape) != 2 or shape[0] != len(self.path) or shape[1] < 2:
            raise ValueError(
                f"Class logits should have the shape ({len(self.path)}, K), K at least 2. "
                f"Found {shape}."
            )
        for name, copy in self.copies.items():
            if tuple(copy.class_logits.shape) != shape or copy.path.layout != self.path.layout:
                raise ValueError(
                    f"The copy {name} should have logits of shape {shape} and "
                    f"{self.path.layout.gates} gates. Found {tuple(copy.class_logits.shape)} and "
                    f"{copy.path.layout.gates}."
                )

    def __len__(self) -> int:
        return len(self.path)

    def __getitem__(self, rows: slice | Tensor) -> Observation:
        """What is known about some of the images, chosen by a slice, a mask or indices."""
        return Observation(
            path=self.path[rows],
            class_logits=self.class_logits[rows],
            copies={name: copy[rows] for name, copy in self.copies.items()},
        )

    @property
    def predicted(self) -> Tensor:
        """Predicted class of each image, int64 of shape (B,)."""
        return self.class_logits.argmax(dim=1)

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return int(self.class_logits.shape[1])

    @staticmethod
    def concatenate(parts: Sequence[Observation]) -> Observation:
        """One observation out of several with the same copies.

        Raises:
            ValueError: If there is no part.
            KeyError: If a part lacks a copy that the first one has.
        """
        return Observation(
            path=PathVectors.concatenate([part.path for part in parts]),
            class_logits=torch.cat([part.class_logits for part in parts]),
            copies={
                name: Observation.concatenate([part.copies[name] for part in parts])
                for name in parts[0].copies
            },
        )
