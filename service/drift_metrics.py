"""What Prometheus sees of drift."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge

from service.drift import DriftWatch

__all__ = ["DriftMetrics"]


class DriftMetrics:
    """How strong the evidence is that traffic is no longer what was calibrated on.

    The martingale is the strongest evidence since the bundle began to answer; it never falls but by
    a reset or with another bundle. Its alarm is at -ln(delta), 6.9 unless configured otherwise, and
    a false one has a probability of delta, however long the server runs. The layers' ratios are of
    the last five hundred images that counted and fall again; clean traffic leaves some 0.01.

    Args:
        registry: Where they are registered.

    Attributes:
        images: Images that counted.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.images = Counter(
            "offpath_drift_images",
            "Images that drift was looked for in: neither suspicious, of a campaign nor repeated, "
            "and within their caller's share.",
            registry=registry,
        )
        self._log_martingale = Gauge(
            "offpath_drift_log_martingale",
            "Natural logarithm of the strongest evidence for drift since the bundle began to "
            "answer.",
            registry=registry,
        )
        self._alarm = Gauge(
            "offpath_drift_alarm",
            "Whether drift was found, so that the false-alarm promise is withdrawn: 1, else 0.",
            registry=registry,
        )
        self._layers = Gauge(
            "offpath_layer_drift_ratio",
            "Share of the layer's gates, at least, that are open or closed otherwise than in "
            "calibration.",
            ["layer"],
            registry=registry,
        )

    def follow(self, watch: DriftWatch | None) -> None:
        """Tell of this watch from now on, and of no other.

        Args:
            watch: That of the bundle that answers; None where nobody looks for drift.
        """
        self._layers.clear()
        if watch is None:
            return
        self._log_martingale.set_function(lambda: watch.log_martingale)
        self._alarm.set_function(lambda: float(watch.alarm))
        for index, name in enumerate(watch.layers):
            self._layers.labels(name).set_function(partial(watch.layer_ratio, index))
