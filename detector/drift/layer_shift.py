"""Which layers of the path moved: for people who look for the cause of drift."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.paths import PathLayout

__all__ = ["LayerShift"]


class LayerShift:
    r"""How far each layer's gates have moved, averaged over the gates.

    .. math:: \frac{1}{G_l} \sum_{g \in l} \left| \overline{z_g - p_{c g}} \right|

    The mean runs over the last images, each held against the gates' rates of its predicted class,
    so that a change in the mix of classes moves nothing. At least so large a share of the layer's
    gates is open or closed otherwise than calibration would have it. m clean images give
    :math:`0.4 / \sqrt m` at most by chance, and few more by what the network gets wrong. A
    diagnosis: it carries no guarantee and raises no alarm.

    Args:
        layout: Which gates belong to which layer.
        open_rates: Share of clean images of each class that open each gate, shape (K, G).
        memory: Images of which the mean is, at least 1; each counts less the older it is.

    Raises:
        ValueError: If the rates are of another number of gates.
    """

    def __init__(
        self, layout: PathLayout, open_rates: NDArray[np.float32], *, memory: int = 500
    ) -> None:
        if open_rates.ndim != 2 or open_rates.shape[1] != layout.gates:
            raise ValueError(
                f"There should be rates of {layout.gates} gates for each class. "
                f"Found the shape {open_rates.shape}."
            )
        self._layout = layout
        self._open_rates = open_rates
        self._memory = memory
        self._moved = np.zeros(layout.gates, dtype=np.float32)
        self._seen = 0

    def observe(self, bits: NDArray[np.bool_], predicted: int) -> None:
        """Take in an image.

        Args:
            bits: True where a gate is open, shape (G,).
            predicted: Its predicted class.
        """
        self._seen += 1
        # A plain mean until there are enough images for one that forgets.
        weight = 1 / min(self._seen, self._memory)
        self._moved += weight * (bits - self._open_rates[predicted] - self._moved)

    def of_layer(self, index: int) -> float:
        """How far the layer of an index has moved, in [0, 1]."""
        return float(np.abs(self._moved[self._layout.slices[index]]).mean())

    def furthest(self, count: int) -> list[tuple[str, float]]:
        """The layers that moved furthest and how far, furthest first.

        Args:
            count: At most so many.
        """
        moved = [(name, self.of_layer(i)) for i, name in enumerate(self._layout.names)]
        return sorted(moved, key=lambda each: -each[1])[:count]
