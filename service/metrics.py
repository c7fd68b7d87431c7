"""Every number that Prometheus sees, in one place; no label ever carries a class or a caller."""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

__all__ = ["Metrics"]

_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_BATCH_SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 64)
_SCORES = (-10, -5, -2, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 50, 100)
_P_VALUES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)


class Metrics:
    """The metrics of one server.

    Args:
        registry: Where they are registered; one for each server, so that two servers in one
            process, as in tests, do not share counts.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
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
            buckets=_SECONDS,
            registry=registry,
        )
        self.rejections = Counter(
            "offpath_rejections",
            "Calls refused, by the reason that ErrorInfo gives.",
            ["reason"],
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
                self.security_reloads.labels(what, outcome)  # an alarm needs the zero before it
        self._create_image_metrics(registry)
        self._create_batch_metrics(registry)
        self.bundle = Info("offpath_bundle", "The bundle that is served.", registry=registry)
        self._create_bundle_metrics(registry)

    def _create_image_metrics(self, registry: CollectorRegistry) -> None:
        self.images = Counter(
            "offpath_images", "Images answered, by level.", ["level"], registry=registry
        )
        self.verdicts = Counter(
            "offpath_verdicts", "Images answered, by verdict.", ["verdict"], registry=registry
        )
        self.scores = Histogram(
            "offpath_score",
            "Scores of answered images; higher is more suspicious, comparable within a level.",
            ["level"],
            buckets=_SCORES,
            registry=registry,
        )
        self.p_values = Histogram(
            "offpath_p_value",
            "P-values of answered images; even over (0, 1] on clean traffic.",
            buckets=_P_VALUES,
            registry=registry,
        )
        self.unstable_gates = Counter(
            "offpath_unstable_gates",
            "Gates of answered images that were open or closed by rounding.",
            registry=registry,
        )
        self.decode_seconds = Histogram(
            "offpath_decode_seconds",
            "Time to bring a call's images to the network's input.",
            buckets=_SECONDS,
            registry=registry,
        )

    def _create_bundle_metrics(self, registry: CollectorRegistry) -> None:
        self.bundle_loads = Counter(
            "offpath_bundle_loads",
            "Attempts to load another bundle beside the one that is served.",
            ["outcome"],
            registry=registry,
        )
        self.bundle_promotions = Counter(
            "offpath_bundle_promotions", "Bundles promoted to be served.", registry=registry
        )
        self.bundle_rollbacks = Counter(
            "offpath_bundle_rollbacks", "Ways back to the bundle before.", registry=registry
        )
        self.shadow_calls = Counter(
            "offpath_shadow_calls",
            "Answered calls that the bundle standing by was to judge as well.",
            ["outcome"],
            registry=registry,
        )
        self.shadow_images = Counter(
            "offpath_shadow_images", "Images judged by two bundles.", registry=registry
        )
        self.shadow_disagreements = Counter(
            "offpath_shadow_disagreements",
            "Images judged otherwise by the bundle standing by: another class, another verdict.",
            ["kind"],
            registry=registry,
        )
        self.shadow_p_value_differences = Histogram(
            "offpath_shadow_p_value_difference",
            "Absolute difference of the p-values that two bundles gave to an image.",
            buckets=_P_VALUES,
            registry=registry,
        )
        for counter, labels in (
            (self.bundle_loads, ("done", "failed")),
            (self.shadow_calls, ("compared", "dropped", "failed")),
            (self.shadow_disagreements, ("class", "verdict")),
        ):
            for label in labels:
                counter.labels(label)  # an alarm needs the zero before it

    def _create_batch_metrics(self, registry: CollectorRegistry) -> None:
        self.queue_images = Gauge(
            "offpath_queue_images", "Images admitted and not yet answered.", registry=registry
        )
        self.queue_seconds = Histogram(
            "offpath_queue_seconds",
            "Time that an image waits for its batch to form.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_images = Histogram(
            "offpath_batch_images",
            "Images of callers in a batch, without padding.",
            buckets=_BATCH_SIZES,
            registry=registry,
        )
        self.analysis_seconds = Histogram(
            "offpath_analysis_seconds",
            "Time of a batch in the network and the scores, by level.",
            ["level"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.dropped_images = Counter(
            "offpath_dropped_images",
            "Images that left the queue unanswered: cancelled, expired, or late for their batch.",
            ["reason"],
            registry=registry,
        )
        self.failed_batches = Counter(
            "offpath_failed_batches",
            "Batches that could not be analysed, by level.",
            ["level"],
            registry=registry,
        )

    def pending(self, more: int) -> None:
        """So many more images, or fewer, are admitted and not yet answered."""
        self.queue_images.inc(more)

    def batch(self, key: str, images: int, seconds: float) -> None:
        """A batch of so many callers' images of a level was analysed in so many seconds."""
        self.batch_images.observe(images)
        self.analysis_seconds.labels(key).observe(seconds)

    def batch_failed(self, key: str) -> None:
        """A batch of a level could not be analysed."""
        self.failed_batches.labels(key).inc()

    def waited(self, seconds: float) -> None:
        """An image waited so long for its batch to form."""
        self.queue_seconds.observe(seconds)

    def dropped(self, reason: str) -> None:
        """An image left the queue unanswered."""
        self.dropped_images.labels(reason).inc()

    def reloaded(self, what: str, *, succeeded: bool) -> None:
        """A changed ``certificate`` or changed ``principals`` were loaded, or could not be."""
        self.security_reloads.labels(what, "done" if succeeded else "failed").inc()

    def answered(
        self, *, level: str, verdict: str, score: float, p_value: float, unstable_gates: int
    ) -> None:
        """An image got its verdict, named ``on_path``, ``off_path`` or ``abstain``."""
        self.images.labels(level).inc()
        self.verdicts.labels(verdict).inc()
        self.unstable_gates.inc(unstable_gates)
        if math.isfinite(score):  # one NaN would turn the sum into NaN for good
            self.scores.labels(level).observe(score)
            self.p_values.observe(p_value)
