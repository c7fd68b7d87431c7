"""What a path says for and against a class, gate by gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from detector.paths import PathVectors
from detector.scoring.bernoulli import BernoulliScore
from detector.scoring.mahalanobis import ActivationDistance
from detector.scoring.neighbours import HammingNeighbours, NearestImages
from detector.scoring.path_scores import PathScores

__all__ = ["PathEvidence", "path_evidence"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PathEvidence:
    r"""How paths lie among the clean paths of their classes, by the pooled activations.

    The one score of the path that every one-class fusion hears is
    :math:`\sum_l (d_l - m_l) / s_l`, with the squared Mahalanobis distance :math:`d_l` of layer l,
    and its mean and standard deviation over clean images. Here it is taken apart:

    .. math:: contribution_g = \frac{(x - \mu_c)_g (\Sigma_l^{-1} (x - \mu_c))_g - m_l / C_l}{s_l}

    for a gate g of a layer l of :math:`C_l` gates. The units are those of the layer's spread, so
    that gates of all layers compare; 0 is an even share of what clean images have.

    Args:
        contributions: Of each gate, float of shape (B, G); a row adds up to the score.
        layers: Of each layer, the sum over its gates, shape (B, L).
        usual_activations: Mean activation of each gate in clean images of the class, shape (B, G).
        open_shares: Share of these images in which it is open, shape (B, G), in (0, 1): a little
            toward the layer's mean, as if ten more images had had that.
        rivals: The other class that the whole path fits best, int64 of shape (B,).
        margins: Sum over the layers of the squared distance from the class less that from the
            rival, shape (B,): positive where the rival fits better.
        nearest: The clean images with the most similar paths, of any class.
    """

    contributions: Tensor
    layers: Tensor
    usual_activations: Tensor
    open_shares: Tensor
    rivals: Tensor
    margins: Tensor
    nearest: NearestImages

    def __getitem__(self, rows: slice) -> PathEvidence:
        """What is known about some of the images."""
        return PathEvidence(
            contributions=self.contributions[rows],
            layers=self.layers[rows],
            usual_activations=self.usual_activations[rows],
            open_shares=self.open_shares[rows],
            rivals=self.rivals[rows],
            margins=self.margins[rows],
            nearest=self.nearest[rows],
        )


def path_evidence(
    scores: PathScores, path: PathVectors, classes: Tensor, *, neighbours: int
) -> PathEvidence:
    """Take the paths of some images apart.

    Args:
        scores: Fitted scores of paths.
        path: The paths, on the device of the scores.
        classes: Class that each is held against, int64 of shape (B,), in 0..K-1.
        neighbours: How many clean images are named for each, at least 1.
    """
    activations = cast("ActivationDistance", scores.scores["activations"])
    likelihood = cast("BernoulliScore", scores.scores["bits"])
    kept = cast("HammingNeighbours", scores.scores["neighbours"])
    found = activations.deviation(path, classes)
    mean, spread = activations.centre[0], activations.scale[0]  # (L,) each, of the class's own
    layer = scores.layout.layer_of_gate().to(classes.device)
    sizes = torch.tensor(scores.layout.sizes, device=classes.device)
    gates = activations.gate_parts(path, classes)
    return PathEvidence(
        contributions=(gates.parts - (mean / sizes)[layer]) / spread[layer],
        layers=(found.own - mean) / spread,
        usual_activations=gates.means,
        open_shares=likelihood.open_shares(classes),
        rivals=found.other,
        margins=found.margin.sum(dim=1),
        nearest=kept.nearest(path, neighbours),
    )
