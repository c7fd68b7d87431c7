"""How many channels of each layer are open, for all layers of a network at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detector.decoupling.channel_flow import ChannelRun
from detector.paths import PathLayout

__all__ = ["OpenChannels"]


class OpenChannels:
    """Counts the open channels that layers read and write, in a few operations however many layers.

    A server counts for each batch: gathering the gates of one layer after the other would take as
    long as a part of the network.

    Args:
        layers: The channels that each layer reads, and those that it writes.
        layout: Which gates close them.
    """

    def __init__(
        self, layers: Sequence[tuple[tuple[ChannelRun, ...], ChannelRun]], layout: PathLayout
    ) -> None:
        runs = [*(reads for reads, _ in layers), *((writes,) for _, writes in layers)]
        self._layers = len(layers)
        self._ends = torch.tensor(layout.sizes).cumsum(dim=0) - 1
        # Of sites and, in its last row, of channels that no gate closes: shape (S + 1, 2 L).
        self._weights = torch.stack([_weights(each, layout.layers) for each in runs], dim=1)

    def __call__(self, bits: Tensor) -> tuple[Tensor, Tensor]:
        """Read and written channels that are open, each a float64 of shape (B, layers), exact.

        Args:
            bits: Which gates are open, bool of shape (B, G).
        """
        so_far = bits.cumsum(dim=1).index_select(1, self._ends.to(bits.device))  # (B, S)
        counts = torch.cat([so_far, so_far.new_ones(len(bits), 1)], dim=1)
        counts[:, 1:-1] -= so_far[:, :-1]
        found = counts.double() @ self._weights.to(bits.device)
        return found[:, : self._layers], found[:, self._layers :]


def _weights(runs: Sequence[ChannelRun], sites: int) -> Tensor:
    """How often each site's open gates count, and in the last place what is always open."""
    weights = torch.zeros(sites + 1, dtype=torch.float64)
    for run in runs:
        if run.site is None:
            weights[-1] += run.channels
        else:
            weights[run.site] += 1
    return weights
