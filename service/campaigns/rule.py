"""What counts as a campaign."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["CampaignRule"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CampaignRule:
    """When queries are nearly identical, and how many of them are a campaign.

    Two queries are *related* when their pixels differ, and yet at most `path_share` of their gates
    do and the cells of their thumbnails by no more than `pixel_change` on average. A query
    *belongs to a campaign* when `related` earlier ones in the window of its principal are related
    to it. Exact duplicates therefore never count, however many are sent.

    The defaults were chosen on calibration images of CIFAR-10 and the bundled network. There two
    unrelated images of one class are related with a probability of 1e-5, and with the image in the
    densest place of 4000 with 5e-3. Of n = 1000 earlier images of that one class the number of
    related ones is binomial, so that 32 come with a probability below 1e-14 even in that place.
    What remains are principals that send 33 versions of one image within the window. Attacks do: of
    the queries of Square at 8/255 the first with 32 related ones is about the 35th, of
    HopSkipJump's about the 65th.

    Args:
        related: Least number of earlier related queries that make a campaign, at least 1.
        queries: Different queries of a principal that are remembered, more than `related`.
        window_s: How long they are remembered, seconds.
        path_share: Largest share of gates in which related queries differ, in [0, 1].
        pixel_change: Largest mean absolute change over the cells of related queries' thumbnails, in
            [0, 1] pixel scale.

    Raises:
        ValueError: If a value is out of its range.
    """

    related: int = 32
    queries: int = 1000
    window_s: float = 3600.0
    path_share: float = 0.025
    pixel_change: float = 10 / 255

    def __post_init__(self) -> None:
        if not 1 <= self.related < self.queries:
            raise ValueError(
                "A campaign should need at least 1 related query and fewer than are remembered. "
                f"Found {self.related} of {self.queries}."
            )
        if not 0 < self.window_s < math.inf:
            raise ValueError(f"window_s should be positive and finite. Found {self.window_s}.")
        for name in ("path_share", "pixel_change"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} should lie in [0, 1]. Found {getattr(self, name)}.")
