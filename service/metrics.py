"""Every number that Prometheus sees; no label ever carries a class, a caller or a request.

Time is in seconds, a share is a ratio in [0, 1], counters end in ``_total``. Shares of what
happened are left to whoever asks: two counters can be divided over any time, a share of our own
over one.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector

from service.batch_metrics import SECONDS, BatchMetrics
from service.bundle_metrics import BundleMetrics, ShadowMetrics
from service.campaign_metrics import CampaignMetrics
from service.drift_metrics import DriftMetrics
from service.errors import INTERNAL_REASON, STATUS_TABLE
from service.image_metrics import ImageMetrics
from service.skipping_metrics import SkippingMetrics

__all__ = ["Metrics"]


class Metrics:
    """The metrics of one server.

    Beside its own there are those that every process has, such as its start and its memory.

    Args:
        registry: Where they are registered; one for each server, so that two servers in one
            process, as in tests, do not share counts.

    Attributes:
        batches: Those of the queue and of batches.
        images: Those of verdicts.
        campaigns: Those of query campaigns.
        drift: Those of drift.
        bundles: Those of bundles that come and go.
        shadow: Those of a bundle that judges beside the one that answers.
        skipping: Those of closed filters.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.batches = BatchMetrics(registry)
        self.images = ImageMetrics(registry)
        self.campaigns = CampaignMetrics(registry)
        self.drift = DriftMetrics(registry)
        self.bundles = BundleMetrics(registry)
        self.shadow = ShadowMetrics(registry)
        self.skipping = SkippingMetrics(registry)
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "offpath_requests",
            "Calls answered, by method and gRPC status code.",
            ["method", "code"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "offpath_request_seconds",
            "Time from a call's arrival to its answer.",
            ["method"],
            buckets=SECONDS,
            registry=registry,
        )
        self.rejections = Counter(
            "offpath_rejections",
            "Calls refused, by the reason that ErrorInfo gives.",
            ["reason"],
            registry=registry,
        )
        for reason in (*(row[-1] for row in STATUS_TABLE), INTERNAL_REASON):
            self.rejections.labels(reason)  # an alarm needs the zero before it
        self.decode_seconds = Histogram(
            "offpath_decode_seconds",
            "Time to bring a call's images to the network's input.",
            buckets=SECONDS,
            registry=registry,
        )
        self.security_reloads = Counter(
            "offpath_security_reloads",
            "Attempts to load a changed certificate or changed principals.",
            ["what", "outcome"],
            registry=registry,
        )
        for what in ("certificate", "principals"):
            for outcome in ("done", "failed"):
                self.security_reloads.labels(what, outcome)
        self.bundle = Info("offpath_bundle", "The bundle that is served.", registry=registry)

    def reloaded(self, what: str, *, succeeded: bool) -> None:
        """A changed ``certificate`` or changed ``principals`` were loaded, or could not be."""
        self.security_reloads.labels(what, "done" if succeeded else "failed").inc()
