"""What bounds the batcher, and who is told what it does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

__all__ = ["BatchLimits", "BatchObserver"]


R_contra = TypeVar("R_contra", contravariant=True)


class BatchObserver(Protocol[R_contra]):
    """Who is told what the batcher does; the metrics of the service are one."""

    def pending(self, images: int) -> None:
        """So many images are admitted and not yet answered."""

    def batch(self, key: str, images: int, seconds: float, result: R_contra) -> None:
        """A batch of so many callers' images of a key came to a result in so many seconds."""

    def batch_failed(self, key: str) -> None:
        """A batch of a key could not be analysed."""

    def waited(self, seconds: float) -> None:
        """An image waited so long for its batch to form."""

    def dropped(self, reason: str) -> None:
        """An image left the queue unanswered, ``cancelled``, ``expired`` or ``late``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchLimits:
    """The bounds of the batcher.

    Args:
        sizes: Sizes of batch that the network sees, ascending; smaller batches are padded. For
            each key, the key of most callers first.
        max_delay_s: Longest silence that an incomplete batch waits for more images, seconds.
        max_images: Most images admitted and not yet answered.
        max_bytes: Most bytes admitted and not yet answered.
        bulk_share: Most of both that bulk may hold, in (0, 1].
        bulk_patience_s: Wait after which bulk gets one batch in eight, seconds.
        max_failures: Batches that fail in a row before the batcher is taken for broken.
    """

    sizes: Mapping[str, tuple[int, ...]]
    max_delay_s: float
    max_images: int
    max_bytes: int
    bulk_share: float = 1.0
    bulk_patience_s: float = math.inf
    max_failures: int = 3
