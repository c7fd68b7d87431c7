"""What is done about campaigns: who is told, and what the callers notice."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detector.errors import OffpathError
from service.campaigns.watch import CampaignWatch, Sighting

__all__ = ["CampaignError", "CampaignGuard", "CampaignObserver", "CampaignPolicy"]

_log = logging.getLogger(__name__)


class CampaignPolicy(StrEnum):
    """What a server does about query campaigns."""

    OFF = "off"
    """Nothing; it does not look for them."""
    OBSERVE = "observe"
    """Counts and logs them; callers notice nothing."""
    FLAG = "flag"
    """Tells callers as well which of their images belong to one."""
    THROTTLE = "throttle"
    """Refuses calls with an image that belongs to one."""


class CampaignError(OffpathError):
    """An image of a call belongs to a query campaign, and the server refuses those.

    Args:
        message: What was found.
        retry_after_s: When the image is likely to be answered, seconds from now.
    """

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class CampaignObserver(Protocol):
    """Who is told about campaigns; the metrics of the service are one."""

    def campaign_began(self) -> None:
        """A principal began a campaign."""

    def campaign_image(self) -> None:
        """An image belongs to a campaign."""


class CampaignGuard:
    """Looks at each answered image and acts by the policy; for one thread at a time.

    Args:
        watch: Who sees campaigns.
        policy: What is done about them.
        exempt: Principals that are not watched.
        observer: Who is told.
    """

    def __init__(
        self,
        watch: CampaignWatch,
        *,
        policy: CampaignPolicy,
        exempt: AbstractSet[str],
        observer: CampaignObserver,
    ) -> None:
        self._watch = watch
        self._policy = policy
        self._exempt = exempt
        self._observer = observer

    @property
    def tells(self) -> bool:
        """Whether callers are told which of their images belong to a campaign."""
        return self._policy is CampaignPolicy.FLAG

    def judge(
        self,
        principal: str,
        images: Iterable[tuple[NDArray[np.bool_], NDArray[np.uint8]]],
        *,
        request_id: str,
    ) -> Sequence[Sighting | None]:
        """What each image looks like; None for all where their principal is not watched.

        Args:
            principal: Who calls.
            images: Of each image of the call its path, True where a gate is open, shape (G,), and
                its pixels at the network's input size, shape (3, H, W).
            request_id: Name of the call in the log.

        Raises:
            CampaignError: If one belongs to a campaign and the policy is to throttle; all of them
                are remembered first.
        """
        if self._policy is CampaignPolicy.OFF or principal in self._exempt:
            return [None for _ in images]
        seen = [self._watch.see(principal, bits, pixels) for bits, pixels in images]
        for sighting in seen:
            if sighting.begins:
                self._observer.campaign_began()
                _log.warning(
                    "Query campaign: principal %s, %d nearly identical images, request id %s",
                    principal,
                    sighting.related + 1,
                    request_id,
                )
            if sighting.belongs:
                self._observer.campaign_image()
        if self._policy is CampaignPolicy.THROTTLE and any(each.belongs for each in seen):
            raise CampaignError(
                "Images should differ from the caller's earlier ones. Found one that is nearly "
                "identical to many. Send others, or try again later.",
                retry_after_s=max(each.retry_after_s for each in seen),
            )
        return seen

    def digest(self, pixels: NDArray[np.uint8]) -> int:
        """The digest of a sighting, for an image that is not watched.

        Args:
            pixels: The image at the network's input size, shape (3, H, W).
        """
        return self._watch.digest(pixels)
