r"""What concepts hang on: how much each gate adds to the class of the images that have them.

To first order, closing a gate with output a takes from the log-probability of the true class y

.. math:: c = E\Bigl[\sum_{h, w} a_{hw} \frac{\partial \log p(y | x)}{\partial a_{hw}}\Bigr]

nats, averaged over the images x with the concept: one backward pass an image tells it of all gates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detector.decoupling import DecoupledNetwork
from detector.devices import exact_32_bit
from detector.jobs.interpretation.concepts import Concept
from detector.jobs.interpretation.sample_images import SampleImages

__all__ = ["concept_causes"]

_PIXELS = 2**16
"""Pixels of the inputs of a batch: the activations of all layers are in memory at once."""


def concept_causes(
    network: DecoupledNetwork,
    images: SampleImages,
    concepts: Sequence[Concept],
    *,
    limit: int,
    seed: int,
    done: Callable[[int], None],
) -> NDArray[np.float64]:
    """How many nats closing each gate would cost the images with each concept, to first order.

    Args:
        network: The network, in evaluation mode.
        images: Images of the sample that combinations are found with.
        concepts: The concepts.
        limit: Most images with a concept that are drawn for it; all that were drawn for any concept
            count for each that they have.
        seed: Seed of the draws.
        done: Told how many images the network has looked at.

    Returns:
        Mean nats, float64 of shape (C, G); 0 for a concept that no image has.

    Reference:
        Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference",
        ICLR 2017: the Taylor expansion of what pruning a filter costs.
    """
    generator = np.random.default_rng(seed)
    drawn = [images.having(concept, limit, generator) for concept in concepts]
    rows = np.unique(np.concatenate(drawn))
    marks = [concept.marks(images.sample) for concept in concepts]
    members = np.stack([each.known & each.members for each in marks])[:, rows]  # (C, N)
    sums = np.zeros((len(concepts), network.layout.gates))
    size = max(1, _PIXELS // images.pixels)
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        sums += members[:, start : start + size] @ _costs(network, images, some)
        done(len(some))
    means: NDArray[np.float64] = sums / np.maximum(members.sum(axis=1), 1)[:, None]
    return means


def _costs(
    network: DecoupledNetwork, images: SampleImages, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Of each image and gate, shape (B, G)."""
    device = next(network.parameters()).device
    inputs = images.inputs(rows, device).requires_grad_()
    labels = torch.from_numpy(images.sample.labels[rows]).to(device)
    seen: dict[str, Tensor] = {}

    def see(name: str) -> Callable[[nn.Module, object, Tensor], Tensor]:
        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            seen[name] = output
            return output.clone()  # a block that adds in place would change what is kept

        return keep

    modules = dict(network.backbone.named_modules())
    names = [site.output for site in network.sites]
    # Behind the network's own hook, which hands its gated output on.
    handles = [modules[name].register_forward_hook(see(name)) for name in names]
    try:
        with torch.enable_grad(), exact_32_bit(device):
            chances = network(inputs).class_logits.log_softmax(dim=1)
            known = chances.gather(1, labels.unsqueeze(1)).sum()
            outputs = [seen[name] for name in names]
            slopes = torch.autograd.grad(known, outputs)
    finally:
        for handle in handles:
            handle.remove()
    costs = [
        (output.detach() * slope).sum(dim=(2, 3))
        for output, slope in zip(outputs, slopes, strict=True)
    ]
    return torch.cat(costs, dim=1).cpu().numpy().astype(np.float64)
