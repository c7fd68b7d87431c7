"""What Prometheus sees of closed filters: how many there are, and where they cost nothing."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Info

from detector.decoupling.skipping import SkippingPlan
from detector.pipeline import Findings

__all__ = ["SkippingMetrics"]


class SkippingMetrics:
    """How many gates are open, and how each layer of the served network is computed.

    The share of filters that an image needs; where all layers skip, no others are computed:

        increase(offpath_open_gates_total[1d]) / increase(offpath_gates_total[1d])

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._gates = Counter(
            "offpath_gates", "Gates of images in batches, copies left out.", registry=registry
        )
        self._open_gates = Counter(
            "offpath_open_gates", "Those of them that were open.", registry=registry
        )
        self._plan = Info(
            "offpath_skipping",
            "How each gated layer of the served network is computed: masked, or one of the ways to "
            "leave closed filters out.",
            ["layer"],
            registry=registry,
        )

    def batch(self, images: int, result: Findings) -> None:
        """A batch came to findings, the first so many of them of callers' images."""
        bits = result.path.bits[:images]
        self._gates.inc(bits.numel())
        self._open_gates.inc(int(bits.sum()))

    def served(self, plan: SkippingPlan) -> None:
        """Another network is served, whose gated layers are computed like this."""
        self._plan.clear()
        for layer, way in plan.to_json().items():
            self._plan.labels(layer).info({"way": way})
