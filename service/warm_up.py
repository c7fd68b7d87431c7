"""Before the first caller: every size of batch met once, found exact, and timed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from service.batcher import Batcher
from service.errors import StartError

__all__ = ["warm_up"]

_log = logging.getLogger(__name__)


async def warm_up(
    batcher: Batcher[Any], image: Tensor, *, digests: Callable[[str, int], frozenset[str]]
) -> dict[str, float]:
    """Analyse a batch of each size, drop the sizes that compute otherwise, and time the rest.

    A size whose numbers differ from those of the largest one, be it in the last bit, would let an
    image's verdict hang on how many others came at the same moment. Without it, an image that
    would have run in it is padded to the next size: that is the price.

    Args:
        batcher: Whose sizes.
        image: Any image of the network's input size, uint8 of shape (3, h, w).
        digests: What one image comes to, by a key and a size; several where that depends on its
            place in the batch.

    Returns:
        For each key what an image costs in a full batch that is not the first one, seconds.

    Raises:
        StartError: If a batch does not fit into the device's memory.
    """
    prices = {}
    for key, sizes in batcher.sizes.items():
        found = {}
        for size in sizes:
            try:
                found[size] = await batcher.on_thread(partial(digests, key, size))
            except torch.OutOfMemoryError as error:
                raise StartError(
                    f"A batch of {size} images at the level {key} should fit into the device's "
                    "memory. Found too little. Leave it out of OFFPATH_BATCH_SIZES, lower "
                    "OFFPATH_MAX_BATCH_PASSES, or free memory on the device."
                ) from error
        kept = _agreeing(key, found)
        batcher.restrict(key, kept)
        for size in (kept[0], kept[-1]):
            seconds = await batcher.probe(image, key, size)
        prices[key] = seconds / size
    return prices


def _agreeing(key: str, found: dict[int, frozenset[str]]) -> tuple[int, ...]:
    """The sizes that compute as the largest one does."""
    *_, largest = found
    if len(found[largest]) > 1:
        _log.warning(
            "At the level %s this device computes an image otherwise at another place of the same "
            "batch: last digits of scores hang on batch-mates, unstable gates are reported",
            key,
        )
    kept = tuple(size for size, digests in found.items() if digests == found[largest])
    dropped = [size for size in found if size not in kept]
    if dropped:
        _log.info(
            "At the level %s batches of %s would round otherwise than those of %d: padded instead",
            key,
            ", ".join(map(str, dropped)),
            largest,
        )
    return kept
