"""What Prometheus sees of bundles that come and go, and of those that judge in the shadow."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["BundleMetrics", "ShadowMetrics"]

_DIFFERENCES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1)


class BundleMetrics:
    """How old the bundle is, and how often another was loaded, promoted, or given up again.

    Args:
        registry: Where they are registered.

    Attributes:
        loads: Attempts to load another one, by outcome.
        promotions: Bundles promoted to be served.
        rollbacks: Ways back to the one before.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.loads = Counter(
            "offpath_bundle_loads",
            "Attempts to load another bundle beside the one that is served.",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("done", "failed"):
            self.loads.labels(outcome)  # an alarm needs the zero before it
        self.promotions = Counter(
            "offpath_bundle_promotions", "Bundles promoted to be served.", registry=registry
        )
        self.rollbacks = Counter(
            "offpath_bundle_rollbacks", "Ways back to the bundle before.", registry=registry
        )
        self._created = Gauge(
            "offpath_bundle_created_timestamp_seconds",
            "When the bundle that is served was calibrated, in Unix time; NaN where it does not "
            "say.",
            registry=registry,
        )
        self._created.set(math.nan)

    def served(self, created: str) -> None:
        """Another bundle is served.

        Args:
            created: When it was calibrated, ISO 8601; in UTC where it names no zone.
        """
        try:
            moment = datetime.fromisoformat(created)
        except ValueError:  # an unknown age is no age: it must not look like 1970
            self._created.set(math.nan)
            return
        self._created.set((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


class ShadowMetrics:
    """How often the bundle that stands by judges otherwise than the one that answers.

    Args:
        registry: Where they are registered.

    Attributes:
        calls: Answered calls that it was to judge as well, by outcome.
        images: Images that both judged.
        disagreements: Those of them that got another class or another verdict, by kind.
        p_value_differences: Absolute differences of their p-values.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "offpath_shadow_calls",
            "Answered calls that the bundle standing by was to judge as well.",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("compared", "dropped", "failed"):
            self.calls.labels(outcome)
        self.images = Counter(
            "offpath_shadow_images", "Images judged by two bundles.", registry=registry
        )
        self.disagreements = Counter(
            "offpath_shadow_disagreements",
            "Images judged otherwise by the bundle standing by: another class, another verdict.",
            ["kind"],
            registry=registry,
        )
        for kind in ("class", "verdict"):
            self.disagreements.labels(kind)
        self.p_value_differences = Histogram(
            "offpath_shadow_p_value_difference",
            "Absolute difference of the p-values that two bundles gave to an image.",
            buckets=_DIFFERENCES,
            registry=registry,
        )
