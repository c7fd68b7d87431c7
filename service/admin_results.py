"""What the admin client gets: plain frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["BundlePlace", "LoadedBundle", "LoadedBundles", "ShadowSummary"]


class BundlePlace(StrEnum):
    """Where a bundle stands."""

    ACTIVE = "active"
    """It answers all calls."""
    STANDBY = "standby"
    """It is ready, and judges at most as a shadow."""
    PREVIOUS = "previous"
    """It was active before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedBundle:
    """A bundle in a server's memory.

    Args:
        digest: SHA-256 over all files of the bundle.
        place: Where it stands.
        created: When it was calibrated, ISO 8601.
        backbone: Name of the network's backbone.
        alpha: Its false-alarm budget, in (0, 1).
        pending_images: Images that were admitted to it and are not yet answered.
        drift_found: When its traffic was found to have drifted, ISO 8601; empty where it was not.
    """

    digest: str
    place: BundlePlace
    created: str
    backbone: str
    alpha: float
    pending_images: int
    drift_found: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShadowSummary:
    """What the bundle that stands by judged beside the active one.

    Args:
        share: Share of the calls that it judges, in [0, 1].
        calls: Calls that both judged.
        dropped_calls: Calls left out, as the shadow was busy.
        failed_calls: Calls that the shadow could not judge.
        images: Images that both judged.
        class_disagreements: Images to which they gave different classes.
        verdict_disagreements: Images to which they gave different verdicts.
        mean_p_value_difference: Mean absolute difference of the p-values; None without any.
    """

    share: float
    calls: int
    dropped_calls: int
    failed_calls: int
    images: int
    class_disagreements: int
    verdict_disagreements: int
    mean_p_value_difference: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedBundles:
    """Everything that a server has loaded.

    Args:
        bundles: The bundles, the active one first.
        shadow: The shadow.
        asked: Digest of the bundle that was to be loaded, whether it was loaded before or not;
            empty after all other calls.
    """

    bundles: tuple[LoadedBundle, ...]
    shadow: ShadowSummary
    asked: str = ""

    def at(self, place: BundlePlace) -> LoadedBundle | None:
        """The bundle at a place, if there is one."""
        return next((each for each in self.bundles if each.place is place), None)
