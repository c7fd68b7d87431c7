"""Where images lie by their gates, layer by layer, drawn into the plane by t-SNE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.manifold import TSNE

from detector.jobs.interpretation.sample import PathSample

__all__ = ["Embedding", "LayerMap", "embed_layers"]

_LEAST = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerMap:
    """Images in the plane by the gates of one layer; only who is near whom means anything.

    Args:
        layer: Name of the layer.
        points: Place of each image.
    """

    layer: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedding:
    """The same images in the maps of all layers.

    Args:
        image_ids: Index of each image within its source.
        labels: True class of each.
        layers: The map of each layer; empty where there were fewer than ten images.
    """

    image_ids: tuple[int, ...]
    labels: tuple[int, ...]
    layers: tuple[LayerMap, ...]


def embed_layers(
    sample: PathSample, *, points: int, seed: int, done: Callable[[int], None]
) -> Embedding:
    """Draw the map of each layer.

    Args:
        sample: The images.
        points: Most images that are drawn; below ten, none are.
        seed: Seed of their choice and of the maps.
        done: Told the number of images whenever a layer is done.

    Reference:
        van der Maaten and Hinton, "Visualizing Data using t-SNE", 2008.
    """
    count = min(points, len(sample))
    count = count if count >= _LEAST else 0
    rows = np.random.default_rng(seed).choice(len(sample), size=count, replace=False)
    chosen = sample[np.sort(rows)]
    maps = []
    for name, part in zip(sample.layout.names, sample.layout.slices, strict=True):
        if not count:
            break
        places = TSNE(
            perplexity=min(30.0, (count - 1) / 3),
            init="random",  # principal components of constant gates do not exist
            random_state=seed,
            method="barnes_hut",
        ).fit_transform(chosen.bits[:, part].astype(np.float32))
        maps.append(
            LayerMap(layer=name, points=tuple((float(x), float(y)) for x, y in places.tolist()))
        )
        done(count)
    return Embedding(
        image_ids=tuple(chosen.image_ids.tolist()),
        labels=tuple(chosen.labels.tolist()),
        layers=tuple(maps),
    )
