"""A second opinion on calls that were answered: how often would the other bundle have differed?"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from detector.errors import InvalidInputError, OffpathError
from detector.pipeline import Detection
from service.codec import AnalysisCall
from service.engine import Engine
from service.metrics import Metrics

__all__ = ["Shadow", "ShadowReport"]

_log = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class ShadowReport:
    """What was compared since the share was set.

    Args:
        share: Share of the calls that are judged twice, in [0, 1].
        calls: Calls that both engines judged.
        dropped_calls: Calls left out, as the shadow was busy.
        failed_calls: Calls that the shadow could not judge.
        images: Images that both judged.
        class_disagreements: Images to which they gave different classes.
        verdict_disagreements: Images to which they gave different verdicts.
        p_values: Images of which both p-values are numbers.
        p_value_difference: Sum of the absolute differences of these p-values.
    """

    share: float = 0.0
    calls: int = 0
    dropped_calls: int = 0
    failed_calls: int = 0
    images: int = 0
    class_disagreements: int = 0
    verdict_disagreements: int = 0
    p_values: int = 0
    p_value_difference: float = 0.0

    @property
    def mean_p_value_difference(self) -> float | None:
        """Mean absolute difference of the p-values; None before there was one."""
        return self.p_value_difference / self.p_values if self.p_values else None


class Shadow:
    """Lets the engine that stands by judge a share of the calls once they are answered.

    One call at a time, so that it never has a queue: it is no load that callers could pile up.

    Args:
        metrics: Where disagreement is counted.
        draw: A number in [0, 1) for each call, below the share for those that are judged twice.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._metrics = metrics
        self._draw = draw
        self._running: asyncio.Task[None] | None = None
        self.report = ShadowReport()
        """What was compared since the share was set."""

    def start(self, share: float) -> None:
        """Judge another share of the calls from now on, and count anew.

        Args:
            share: In [0, 1]; 0 for none.

        Raises:
            InvalidInputError: If it is another number.
        """
        if not 0 <= share <= 1:
            raise InvalidInputError(
                f"The share of calls to judge twice should be in [0, 1]. Found {share}. "
                "Take 0 for none and 1 for all.",
                field="share",
            )
        self.stop()
        self.report = ShadowReport(share=share)

    def stop(self) -> None:
        """Judge no calls any more, and do not wait for the one that is judged; keep the counts."""
        self.report.share = 0.0
        if self._running is not None:
            self._running.cancel()

    def forget(self) -> None:
        """Judge no calls any more and drop the counts: the bundle that they are about is gone."""
        self.stop()
        self.report = ShadowReport()

    def follow(self, engine: Engine, call: AnalysisCall, answer: Iterable[Detection]) -> None:
        """Judge a call as well, if it falls into the share; returns at once.

        What it starts runs at the earliest when the caller's own task waits next, which it does
        only for the answer's way out.

        Args:
            engine: Who judges it.
            call: What was asked.
            answer: What was answered, image by image.
        """
        if not self.report.share or self._draw() >= self.report.share:
            return
        if self._running is not None and not self._running.done():
            self.report.dropped_calls += 1
            self._metrics.shadow.calls.labels("dropped").inc()
            return
        compare = self._compare(engine, call, tuple(answer), self.report)
        self._running = asyncio.create_task(compare, name="offpath-shadow")

    async def _compare(
        self,
        engine: Engine,
        call: AnalysisCall,
        answer: tuple[Detection, ...],
        report: ShadowReport,
    ) -> None:
        try:
            found = await engine.judge_unasked(call)
        except Exception as error:  # noqa: BLE001  # whatever it is, no caller is concerned
            report.failed_calls += 1
            self._metrics.shadow.calls.labels("failed").inc()
            expected = isinstance(error, OffpathError)
            _log.warning("The shadow failed: %s", error, exc_info=None if expected else error)
            return
        report.calls += 1
        self._metrics.shadow.calls.labels("compared").inc()
        for ours, theirs in zip(answer, found, strict=True):
            self._count(ours, theirs, report)

    def _count(self, ours: Detection, theirs: Detection, report: ShadowReport) -> None:
        report.images += 1
        self._metrics.shadow.images.inc()
        if ours.predicted_class != theirs.predicted_class:
            report.class_disagreements += 1
            self._metrics.shadow.disagreements.labels("class").inc()
        if ours.verdict is not theirs.verdict:
            report.verdict_disagreements += 1
            self._metrics.shadow.disagreements.labels("verdict").inc()
        difference = abs(ours.p_value - theirs.p_value)
        if math.isfinite(difference):  # one NaN would turn the sum into NaN for good
            report.p_values += 1
            report.p_value_difference += difference
            self._metrics.shadow.p_value_differences.observe(difference)
