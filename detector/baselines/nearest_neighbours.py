"""Distance from the k-th nearest clean image."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from detector.baselines.baseline import Baseline
from detector.baselines.distances import nearest_distances, some_of
from detector.paths import PathLayout
from detector.scoring.observation import Observation
from detector.scoring.score import CleanImages

__all__ = ["NearestNeighbours"]


class NearestNeighbours(Baseline):
    r"""Distance of the direction of the last gated layer from its k-th nearest among clean images.

    .. math:: s(x) = \lVert z - z_{(k)} \rVert, \qquad z = x_L / \lVert x_L \rVert

    The paper takes the features before the classifier. An `Observation` does not have them: in a
    residual network they are the last gated layer plus its shortcut.

    Args:
        layout: Which gates belong to which layer.
        classes: Number of classes, K, at least 2.
        neighbours: Which neighbour counts, k, positive; the farthest where there are fewer.
        reference_images: Most clean images to seek it among, at least k.

    Raises:
        ValueError: If one of them is out of range.

    Reference:
        Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022.
    """

    name: ClassVar[str] = "nearest-neighbours"
    growing: ClassVar[tuple[str, ...]] = ("reference",)

    reference: Tensor

    def __init__(
        self,
        layout: PathLayout,
        classes: int,
        *,
        neighbours: int = 50,
        reference_images: int = 5000,
    ) -> None:
        super().__init__(layout, classes)
        if not 1 <= neighbours <= reference_images:
            raise ValueError(
                "NearestNeighbours should have at least 1 neighbour, and as many reference "
                f"images. Found {neighbours} and {reference_images}."
            )
        self.neighbours = neighbours
        self.reference_images = reference_images
        self.register_buffer("reference", torch.zeros(0, layout.sizes[-1]))

    @override
    def _fit(self, clean: CleanImages) -> None:
        self.reference = some_of(self._directions(clean.sample), self.reference_images)

    @override
    def _number(self, seen: Observation) -> Tensor:
        count = min(self.neighbours, len(self.reference))
        return nearest_distances(self._directions(seen), self.reference, count)[:, -1]

    def _directions(self, seen: Observation) -> Tensor:
        last = seen.path.activations[:, self.layout.slices[-1]]
        return functional.normalize(last.to(self.reference.dtype), dim=1)
