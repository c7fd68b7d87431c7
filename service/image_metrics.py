"""What Prometheus sees of verdicts, and of the promise about false alarms."""

from __future__ import annotations

import math
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from detector.pipeline import Abstention, Detection, Verdict

__all__ = ["ImageMetrics"]

_SCORES = (-10, -5, -2, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 50, 100)
_P_VALUES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)


class ImageMetrics:
    """What became of images.

    On clean traffic alarms stay within what the budgets of the answered images add up to. Callers
    may ask for smaller budgets than the server's, so that the share of alarms has to be held
    against that sum, not against one number: above 1, traffic is not what was calibrated on.

        increase(offpath_verdicts_total{verdict="off_path"}[1d])
            / ignoring(verdict) increase(offpath_allowed_alarms_total[1d])

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._images = Counter(
            "offpath_images", "Images answered, by level.", ["level"], registry=registry
        )
        self._verdicts = Counter(
            "offpath_verdicts", "Images answered, by verdict.", ["verdict"], registry=registry
        )
        for verdict in Verdict:  # a share of what is not there yet would not be zero but nothing
            self._verdicts.labels(verdict.name.lower())
        self._abstentions = Counter(
            "offpath_abstentions",
            "Images answered without a verdict either way, by the cause.",
            ["reason"],
            registry=registry,
        )
        for cause in Abstention:
            self._abstentions.labels(cause.name.lower())
        self._allowed_alarms = Counter(
            "offpath_allowed_alarms",
            "Alarms that clean traffic would be allowed: the budgets of the images that got a "
            "verdict other than abstain, added up.",
            registry=registry,
        )
        self.alarm_budget = Gauge(
            "offpath_alarm_budget_ratio",
            "Share of clean images that may be flagged unless a caller asks for less.",
            registry=registry,
        )
        self._scores = Histogram(
            "offpath_score",
            "Scores of answered images; higher is more suspicious, comparable within a level.",
            ["level", "verdict"],
            buckets=_SCORES,
            registry=registry,
        )
        self._p_values = Histogram(
            "offpath_p_value",
            "P-values of answered images; even over (0, 1] on clean traffic.",
            buckets=_P_VALUES,
            registry=registry,
        )
        self._unstable_gates = Counter(
            "offpath_unstable_gates",
            "Gates of answered images that were open or closed by rounding.",
            registry=registry,
        )

        self._images_of = cache(self._images.labels)
        self._verdicts_of = cache(self._verdicts.labels)
        self._scores_of = cache(self._scores.labels)

    def answered(self, detection: Detection) -> None:
        """An image got its verdict."""
        verdict = detection.verdict.name.lower()
        self._images_of(detection.level).inc()
        self._verdicts_of(verdict).inc()
        self._unstable_gates.inc(detection.unstable_gates)
        if detection.abstention is not None:
            self._abstentions.labels(detection.abstention.name.lower()).inc()
        else:
            self._allowed_alarms.inc(detection.alpha)
        if math.isfinite(detection.score):  # one NaN would turn the sum into NaN for good
            self._scores_of(detection.level, verdict).observe(detection.score)
            self._p_values.observe(detection.p_value)
