"""Tells the metrics of a server what one of its engines does, while it answers callers."""

from __future__ import annotations

from detector.decoupling import MacCount
from detector.pipeline import Findings
from service.batch_limits import BatchObserver
from service.batch_metrics import BatchMetrics
from service.skipping_metrics import SkippingMetrics

__all__ = ["EngineObserver"]


class EngineObserver(BatchObserver[Findings]):
    """A batcher's observer that is heard only while its engine answers callers.

    What a shadow does says nothing about how callers fare, and of two engines that both have calls,
    as around a promotion, the queue is the sum.

    Args:
        metrics: Who is told.
        gates: Who is told of gates.
    """

    def __init__(self, metrics: BatchMetrics, gates: SkippingMetrics) -> None:
        self._metrics = metrics
        self._gates = gates
        self._told = 0
        self._answers = False
        self.images = 0
        """Images admitted and not yet answered."""
        self.mac_count: MacCount | None = None
        """What the engine's network multiplies; None where that is not known."""

    @property
    def answers(self) -> bool:
        """Whether the engine answers callers."""
        return self._answers

    @answers.setter
    def answers(self, answers: bool) -> None:
        self._answers = answers
        self._tell_images()

    def pending(self, images: int) -> None:
        """So many images are admitted and not yet answered."""
        if self._answers and images > self.images:
            self._metrics.admitted(images - self.images)
        self.images = images
        self._tell_images()

    def batch(self, key: str, images: int, seconds: float, result: Findings) -> None:
        """A batch of so many callers' images of a level came to findings in so many seconds."""
        if self._answers:
            self._metrics.batch(key, images, seconds, result)
            self._gates.batch(self.mac_count, images, result)

    def batch_failed(self, key: str) -> None:
        """A batch of a level could not be analysed."""
        if self._answers:
            self._metrics.batch_failed(key)

    def waited(self, seconds: float) -> None:
        """An image waited so long for its batch to form."""
        if self._answers:
            self._metrics.waited(seconds)

    def dropped(self, reason: str) -> None:
        """An image left the queue unanswered."""
        if self._answers:
            self._metrics.dropped(reason)

    def _tell_images(self) -> None:
        images = self.images if self._answers else 0
        self._metrics.pending(images - self._told)
        self._told = images
