"""What gates do, and how clean images of each class travel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.jobs.calibration_report.sections import LayerGates, PathMaps
from detector.paths import PathLayout

__all__ = ["layer_gates", "path_maps"]

_DIGITS = 4


def layer_gates(bits: NDArray[np.bool_], layout: PathLayout) -> tuple[LayerGates, ...]:
    """Which gates of each layer are always open, always closed, or depend on the image.

    Args:
        bits: Open gates of N clean images, bool of shape (N, G), N positive.
        layout: Which gates belong to which layer.
    """
    opened = bits.sum(axis=0)  # (G,)
    return tuple(
        LayerGates(
            name=name,
            always_open=int((opened[part] == len(bits)).sum()),
            always_closed=int((opened[part] == 0).sum()),
            input_dependent=int(((opened[part] > 0) & (opened[part] < len(bits))).sum()),
            open_share=round(float(opened[part].mean()) / len(bits), _DIGITS),
        )
        for name, part in zip(layout.names, layout.slices, strict=True)
    )


def path_maps(
    bits: NDArray[np.bool_], predicted: NDArray[np.int64], layout: PathLayout, classes: int
) -> PathMaps:
    r"""How clean images travel, for each class c and layer l of gates g.

    .. math:: o_{cl} = \frac{1}{|l|} \sum_{g \in l} p_{cg}, \qquad
              d_{cl} = \frac{1}{|l|} \sum_{g \in l} |p_{cg} - \bar p_g|

    with :math:`p_{cg}` the share of the images predicted as c for which g is open, and
    :math:`\bar p_g` its mean over the classes that have images.

    Args:
        bits: Open gates of N clean images, bool of shape (N, G), N positive.
        predicted: Their predicted classes, in 0..K-1, shape (N,).
        layout: Which gates belong to which layer.
        classes: Number of classes, K.
    """
    images = np.bincount(predicted, minlength=classes)
    rates = {c: bits[predicted == c].mean(axis=0) for c in range(classes) if images[c]}  # (G,)
    middle = np.mean(list(rates.values()), axis=0)
    return PathMaps(
        images=tuple(images.tolist()),
        open_shares=tuple(_by_layer(rates.get(c), layout) for c in range(classes)),
        distances=tuple(
            _by_layer(np.abs(rates[c] - middle) if c in rates else None, layout)
            for c in range(classes)
        ),
    )


def _by_layer(values: NDArray[np.float64] | None, layout: PathLayout) -> tuple[float, ...]:
    if values is None:
        return ()
    return tuple(round(float(values[part].mean()), _DIGITS) for part in layout.slices)
