"""What Prometheus sees of the queue and of batches."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from detector.pipeline import Findings

__all__ = ["SECONDS", "BatchMetrics"]

SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Bounds of every histogram of time: two or three in each decade that calls are seen in."""

_BATCH_SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 64)


class BatchMetrics:
    """The batcher's observer.

    A batch's time has two parts. `offpath_network_seconds` is from handing its images to the device
    until the network is through with them and their copies; `offpath_scoring_seconds` is what
    follows, up to p-values in main memory. On a GPU both are measured by the device itself, so that
    work that was only asked for does not count as done. `offpath_analysis_seconds` is the batch as
    the event loop sees it: both parts, and the way to the thread that computes and back.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._queue_images = Gauge(
            "offpath_queue_images", "Images admitted and not yet answered.", registry=registry
        )
        self._admitted_images = Counter(
            "offpath_admitted_images",
            "Images let into the queue, answered or not.",
            registry=registry,
        )
        self._queue_seconds = Histogram(
            "offpath_queue_seconds",
            "Time that an image waits for its batch to form.",
            buckets=SECONDS,
            registry=registry,
        )
        self._batch_images = Histogram(
            "offpath_batch_images",
            "Images of callers in a batch, without padding.",
            buckets=_BATCH_SIZES,
            registry=registry,
        )
        self._analysis_seconds, self._network_seconds, self._scoring_seconds = (
            Histogram(name, text, ["level"], buckets=SECONDS, registry=registry)
            for name, text in (
                (
                    "offpath_analysis_seconds",
                    "Time of a batch in the network and the scores, by level.",
                ),
                ("offpath_network_seconds", "Time of a batch in the network alone, by level."),
                ("offpath_scoring_seconds", "Time of a batch after the network, by level."),
            )
        )
        self._dropped_images = Counter(
            "offpath_dropped_images",
            "Images that left the queue unanswered: cancelled, expired, or late for their batch.",
            ["reason"],
            registry=registry,
        )
        for reason in ("cancelled", "expired", "late"):
            self._dropped_images.labels(reason)
        self._failed_batches = Counter(
            "offpath_failed_batches",
            "Batches that could not be analysed, by level.",
            ["level"],
            registry=registry,
        )

    def pending(self, more: int) -> None:
        """So many more images, or fewer, are admitted and not yet answered."""
        self._queue_images.inc(more)

    def admitted(self, images: int) -> None:
        """So many images were let in."""
        self._admitted_images.inc(images)

    def batch(self, key: str, images: int, seconds: float, result: Findings) -> None:
        """A batch of so many callers' images of a level came to findings in so many seconds."""
        self._batch_images.observe(images)
        self._analysis_seconds.labels(key).observe(seconds)
        if result.spent is not None:
            self._network_seconds.labels(key).observe(result.spent.network_s)
            self._scoring_seconds.labels(key).observe(result.spent.scoring_s)

    def batch_failed(self, key: str) -> None:
        """A batch of a level could not be analysed."""
        self._failed_batches.labels(key).inc()

    def waited(self, seconds: float) -> None:
        """An image waited so long for its batch to form."""
        self._queue_seconds.observe(seconds)

    def dropped(self, reason: str) -> None:
        """An image left the queue unanswered."""
        self._dropped_images.labels(reason).inc()
