"""What Prometheus sees of query campaigns."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

__all__ = ["CampaignMetrics"]


class CampaignMetrics:
    """How many campaigns there are, and of how many images; also the guard's observer.

    Args:
        registry: Where they are registered.

    Attributes:
        active: Principals with a campaign that goes on.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._campaigns = Counter(
            "offpath_campaigns", "Query campaigns that were found.", registry=registry
        )
        self._images = Counter(
            "offpath_campaign_images", "Images that belong to a query campaign.", registry=registry
        )
        self.active = Gauge(
            "offpath_active_campaigns",
            "Principals with a query campaign that goes on or has not been over for long.",
            registry=registry,
        )

    def campaign_began(self) -> None:
        """A principal began a query campaign."""
        self._campaigns.inc()

    def campaign_image(self) -> None:
        """An image belongs to a query campaign."""
        self._images.inc()
