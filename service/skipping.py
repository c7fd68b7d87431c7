"""Whether closed filters are computed: decided when a bundle is warmed up."""

from __future__ import annotations

import logging
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # settings are read without torch
    from detector.decoupling.skipping import SkippingChoice

__all__ = ["Skipping", "tell_choice"]

_log = logging.getLogger(__name__)


class Skipping(StrEnum):
    """What a server does about closed filters."""

    AUTO = "auto"
    """Leaves them out where it measures at warm-up that this is faster."""
    OFF = "off"
    """Computes them, and multiplies by zero."""


def tell_choice(digest: str, choice: SkippingChoice | None) -> None:
    """Log what was measured of a bundle; nothing where nothing was."""
    if choice is None:
        return
    alone, together = choice.alone, choice.together
    times = (
        f"{alone.ratio:.2f} of the time for one image, {together.ratio:.2f} for {together.images}"
    )
    if not choice.pays:
        _log.info("Bundle %s computes closed filters: to skip them takes %s", digest, times)
        return
    ways = Counter(choice.plan.to_json().values())
    parts = ", ".join(f"{count} {way}" for way, count in ways.items())
    _log.info("Bundle %s skips closed filters: %s; layers: %s", digest, times, parts)
