"""What a server remembers of its callers' queries, across the bundles that come and go."""

from __future__ import annotations

import secrets
from weakref import WeakValueDictionary

from detector.bundle import Bundle
from detector.pipeline import Pipeline
from service.campaigns import CampaignRule, CampaignWatch, QueryHasher
from service.clock import Clock, MonotonicClock
from service.settings import Settings

__all__ = ["CampaignWatches", "campaign_watch"]

_KEY_BYTES = 32


class CampaignWatches:
    """One watch for each network, shared by all loaded bundles that have it.

    Bundles with the same network, as after it was calibrated again, see the same paths: a campaign
    goes on as one when such a bundle is promoted. Paths of another network cannot be compared, so
    that its watch starts anew; that of the one before comes back with it, if it is rolled back to.
    A watch is forgotten with the last bundle that has its network.

    Args:
        settings: What a campaign is, and how many principals are remembered.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._by_network: WeakValueDictionary[str, CampaignWatch] = WeakValueDictionary()

    def of(self, bundle: Bundle) -> CampaignWatch:
        """The watch for a bundle's queries; who asks keeps it alive."""
        network = bundle.manifest.network_digest
        watch = self._by_network.get(network)
        if watch is None:
            watch = self._by_network[network] = self._new(bundle)
        return watch

    def _new(self, bundle: Bundle) -> CampaignWatch:
        return campaign_watch(
            bundle.pipeline,
            self._settings.campaign_rule(),
            most_principals=self._settings.campaign_principals,
            key=secrets.token_bytes(_KEY_BYTES),
            clock=MonotonicClock(),
        )


def campaign_watch(
    pipeline: Pipeline, rule: CampaignRule, *, most_principals: int, key: bytes, clock: Clock
) -> CampaignWatch:
    """A watch for the queries of one network.

    Args:
        pipeline: Has the network.
        rule: What a campaign is.
        most_principals: Principals that are remembered, at least 1.
        key: At most 64 bytes that callers do not know.
        clock: Where the time comes from.
    """
    size = pipeline.preprocessing
    hasher = QueryHasher(gates=pipeline.layout.gates, height=size.height, width=size.width, key=key)
    return CampaignWatch(rule, hasher=hasher, most_principals=most_principals, clock=clock)
