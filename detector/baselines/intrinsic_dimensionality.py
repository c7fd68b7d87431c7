"""In how many directions clean images lie around an image, layer by layer."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from detector.baselines.distances import nearest_distances, some_of
from detector.baselines.layerwise import LayerwiseBaseline
from detector.paths import PathLayout
from detector.scoring.score import CleanImages

__all__ = ["LocalIntrinsicDimensionality", "intrinsic_dimensionality"]

_LARGEST = 1000.0
"""Where all neighbours are equally far, the estimate has no bound."""


def intrinsic_dimensionality(distances: Tensor) -> Tensor:
    r"""Maximum-likelihood estimate of the local intrinsic dimensionality.

    .. math:: \left( \frac{1}{k} \sum_{i=1}^k \log \frac{r_k}{r_i} \right)^{-1}

    Args:
        distances: Distances r from the k nearest neighbours, ascending, shape (B, k).

    Returns:
        In [0, 1000], shape (B,); 0 where all neighbours are equal to the image itself.

    Reference:
        Amsaleg et al., "Estimating Local Intrinsic Dimensionality", KDD 2015.
    """
    logarithms = distances.clamp(min=torch.finfo(distances.dtype).tiny).log()
    growth = (logarithms[:, -1:] - logarithms).mean(dim=1)
    estimate = growth.clamp(min=1 / _LARGEST).reciprocal()
    return torch.where(distances[:, -1] == 0, 0.0, estimate)


class LocalIntrinsicDimensionality(LayerwiseBaseline):
    """Intrinsic dimensionality of clean activations around those of the image, in each layer.

    The reference is fixed: the paper's, minibatches of the evaluated images, would let the score
    of one image depend on others.

    Args:
        layout: Which gates belong to which layer.
        classes: Number of classes, K, at least 2.
        neighbours: Number of nearest neighbours, k, at least 2; fewer where the reference has no
            more.
        reference_images: Most clean images to seek them among.

    Raises:
        ValueError: If there are not at least two neighbours, or not more images than neighbours.

    Reference:
        Ma et al., "Characterizing Adversarial Subspaces Using Local Intrinsic Dimensionality",
        ICLR 2018.
    """

    name: ClassVar[str] = "intrinsic-dimensionality"
    growing: ClassVar[tuple[str, ...]] = ("reference",)

    reference: Tensor

    def __init__(
        self,
        layout: PathLayout,
        classes: int,
        *,
        neighbours: int = 20,
        reference_images: int = 1000,
    ) -> None:
        super().__init__(layout, classes)
        if not 2 <= neighbours < reference_images:
            raise ValueError(
                "LocalIntrinsicDimensionality should have at least 2 neighbours, and more "
                f"reference images. Found {neighbours} and {reference_images}."
            )
        self.neighbours = neighbours
        self.reference_images = reference_images
        self.register_buffer("reference", torch.zeros(0, layout.gates))

    @override
    def _learn(self, clean: CleanImages) -> Tensor:
        activations = clean.sample.path.activations.to(self.reference.dtype)
        self.reference = some_of(activations, self.reference_images)
        # The nearest of a reference image is the image itself: no other one will find that.
        return self._dimensionalities(self.reference, itself=1)

    @override
    def _measure(self, activations: Tensor) -> Tensor:
        return self._dimensionalities(activations, itself=0)

    def _dimensionalities(self, activations: Tensor, *, itself: int) -> Tensor:
        """Of each layer, with so many of the nearest left out, (B, G) -> (B, L)."""
        count = min(self.neighbours, len(self.reference) - 1)
        found = []
        for layer in self.layout.slices:
            distances = nearest_distances(
                activations[:, layer], self.reference[:, layer], count + itself
            )
            found.append(intrinsic_dimensionality(distances[:, itself:]))
        return torch.stack(found, dim=1)
