"""What a network does with images: as they are, attacked, and as copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detector.attacks import AttackSpec, StrongestOf, TransferThrough, attackable
from detector.copies import Copy
from detector.decoupling import DecoupledNetwork, DecoupledOutput
from detector.devices import exact_32_bit
from detector.jobs.image_order import AnyImages
from detector.path_table import PathRows
from detector.paths import PathVectors
from detector.preprocessing import Preprocessing

__all__ = ["Observer"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Observer:
    """Shows images to a network, and writes down what it does with them.

    Args:
        network: The network, in any mode.
        surrogate: The network on which attack images are made, where it is another one.
        preprocessing: How images become its input.
        attacker: How attacks are made.
        copies: By their names the copies that can be looked at.
        device: Where the networks run, as torch names it.
    """

    network: DecoupledNetwork
    surrogate: nn.Module | None
    preprocessing: Preprocessing
    attacker: StrongestOf | TransferThrough
    copies: Mapping[str, Copy]
    device: str

    def settle(self) -> None:
        """Bring the networks to their device."""
        self.network.to(self.device)
        if self.surrogate is not None:
            self.surrogate.to(self.device)

    def observe(
        self, images: AnyImages, rows: NDArray[np.int64], spec: AttackSpec | None, *, seed: int
    ) -> tuple[Tensor, PathRows]:
        """Images as they come to the network, uint8 on the CPU, and what it does with them.

        Args:
            images: A split.
            rows: Which of its images, int64 of shape (B,).
            spec: What is done to them; None for nothing at all.
            seed: Seed of what is random in it.
        """
        pixels = images.read(rows.tolist(), self.preprocessing)
        labels = torch.from_numpy(images.labels[rows])
        before: Tensor | None = None
        ways = ("",) * len(rows)
        if spec is not None:
            attacked = self.attacker(
                self.network, self.preprocessing, pixels, labels, spec.build(), seed=seed
            )
            pixels, before = attacked.images, attacked.original_prediction
            ways = tuple(attacked.ways[way] for way in attacked.way.tolist())
        class_logits, path = self._look(pixels)
        predictions = class_logits.argmax(dim=1)
        before = predictions if before is None else before
        return pixels, PathRows(
            image_ids=torch.from_numpy(images.ids[rows]),
            path=path,
            class_logits=class_logits,
            labels=labels,
            original_predictions=before,
            predictions=predictions,
            success=(before == labels) & (predictions != labels),
            ways=ways,
        )

    def copied(self, name: str, pixels: Tensor, original: PathRows) -> PathRows:
        """Rows of one copy of images.

        Args:
            name: The copy's name.
            pixels: The images, uint8 of shape (B, 3, H, W).
            original: Their own rows.
        """
        # On the CPU whatever the device is: the same copies on every machine.
        class_logits, path = self._look(self.copies[name](pixels))
        return replace(
            original,
            path=path,
            class_logits=class_logits,
            predictions=class_logits.argmax(dim=1),
        )

    def _look(self, pixels: Tensor) -> tuple[Tensor, PathVectors]:
        """Class logits and paths of uint8 images, on the CPU."""
        device = torch.device(self.device)
        with attackable(self.network), torch.no_grad(), exact_32_bit(device):
            output: DecoupledOutput = self.network(self.preprocessing(pixels.to(device)))
        return output.class_logits.float().cpu(), output.path.cpu()
