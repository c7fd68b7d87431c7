"""Distance from the closest class, layer by layer."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from detector.baselines.distances import exact_distances
from detector.baselines.layerwise import LayerwiseBaseline
from detector.paths import PathLayout
from detector.scoring.blocks import equal_layers
from detector.scoring.score import CleanImages

__all__ = ["LeeMahalanobis"]

_IMAGES_AT_ONCE = 1000


class LeeMahalanobis(LayerwiseBaseline):
    r"""Squared Mahalanobis distance of each layer from the class whose mean is closest.

    .. math:: m_l(x) = \min_c (x_l - \mu_{cl})^T \Sigma_l^+ (x_l - \mu_{cl})

    with one covariance a layer for all classes and its pseudo-inverse: directions in which clean
    activations do not move, to within 32-bit floats, count nothing. Images are not perturbed.

    Args:
        layout: Which gates belong to which layer.
        classes: Number of classes, K, at least 2.

    Reference:
        Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and
        Adversarial Attacks", NeurIPS 2018.
    """

    name: ClassVar[str] = "mahalanobis"

    middle: Tensor
    place: Tensor

    def __init__(self, layout: PathLayout, classes: int) -> None:
        super().__init__(layout, classes)
        self.groups = equal_layers(layout)
        self.register_buffer("middle", torch.zeros(layout.gates))
        for index, group in enumerate(self.groups):
            layers, size = len(group.layers), group.size
            self.register_buffer(f"whitening{index}", torch.zeros(layers, size, size))
            self.register_buffer(f"means{index}", torch.zeros(layers, classes, size))
        order = torch.tensor([layer for group in self.groups for layer in group.layers])
        # Measures come group by group: where each layer's stands among them.
        self.register_buffer("place", order.argsort(), persistent=False)

    @override
    def _learn(self, clean: CleanImages) -> Tensor:
        counts, moments = clean.statistics.counts, clean.statistics.activations
        middle = moments.sums.sum(dim=0) / counts.sum()  # (G,)
        means = moments.sums / counts.unsqueeze(1)  # (K, G)
        self.middle.copy_(middle)
        for index, (group, products) in enumerate(zip(self.groups, moments.products, strict=True)):
            mean = group.take(means)  # (n, K, C)
            between = (mean.transpose(1, 2) * counts) @ mean
            whitening = _pseudo_inverse_root((products - between) / counts.sum())
            self.get_buffer(f"whitening{index}").copy_(whitening)
            self.get_buffer(f"means{index}").copy_(group.take(means - middle) @ whitening)
        return self._measure(clean.sample.path.activations.to(self.middle.dtype))

    @override
    def _measure(self, activations: Tensor) -> Tensor:
        return torch.cat(
            [self._closest(part) for part in torch.split(activations, _IMAGES_AT_ONCE)]
        )

    def _closest(self, activations: Tensor) -> Tensor:
        """The same for few images, (B, G) -> (B, L)."""
        centred = activations - self.middle
        found = []
        for index, group in enumerate(self.groups):
            whitened = group.take(centred) @ self.get_buffer(f"whitening{index}")  # (n, B, C)
            distances = exact_distances(whitened, self.get_buffer(f"means{index}"))  # (n, B, K)
            found.append(distances.amin(dim=2).square())
        return torch.cat(found).index_select(0, self.place).T


def _pseudo_inverse_root(covariance: Tensor) -> Tensor:
    """Root A of the pseudo-inverse of each covariance, A A^T, shape (n, C, C)."""
    values, vectors = torch.linalg.eigh(covariance)  # ascending
    resolution = covariance.shape[1] * torch.finfo(torch.float32).eps
    kept = values > resolution * values[:, -1:].clamp(min=0)
    root: Tensor = vectors * torch.where(kept, values, torch.inf).rsqrt().unsqueeze(1)
    return root
