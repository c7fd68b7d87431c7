"""What Prometheus sees of closed filters: how many there are, what they spare, and where."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from itertools import groupby

import torch
from prometheus_client import CollectorRegistry, Counter, Info, Metric
from prometheus_client.registry import Collector
from torch import Tensor
from typing_extensions import override

from detector.decoupling import MacCount
from detector.decoupling.skipping import SkippingPlan
from detector.errors import OffpathError
from detector.pipeline import Findings, Pipeline

__all__ = ["SkippingMetrics", "count_of"]

_log = logging.getLogger(__name__)

_MOST_ASIDE = 128
"""Images whose paths wait to be counted: enough to make it cheap, too few to take memory."""


def count_of(pipeline: Pipeline) -> MacCount | None:
    """The multiplications of a pipeline's network; None where they cannot be counted.

    It takes some tenths of a second, and waits until no network computes.
    """
    side = pipeline.preprocessing
    try:
        return MacCount.of(pipeline.network, height=side.height, width=side.width)
    except OffpathError as error:
        _log.info("Multiplications are not counted: %s", error)
        return None


class SkippingMetrics(Collector):
    """How many gates are open, what images need of a network, and how its layers are computed.

    Multiplications (MACs) are those of `offpath cost`, by the rule of `MacCount`, modules included:
    a layer whose gates are nearly all open needs more than it would without gates. They are a count
    by gates, and no time. What images need, and the share of filters that are open:

        sum(increase(offpath_needed_macs_total[1d])) / sum(increase(offpath_plain_macs_total[1d]))
        increase(offpath_open_gates_total[1d]) / increase(offpath_gates_total[1d])

    Paths are put aside and counted many at once, at the latest when Prometheus asks: one by one
    they would cost a single image 4 % of its time.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._gates = _counter("gates", "Gates of images in batches, copies left out.")
        self._open_gates = _counter("open_gates", "Those of them that were open.")
        self._needed = _counter(
            "needed_macs",
            "Multiply-accumulates that these images need, by layer: those of open channels and of "
            "the module that opens them.",
            "layer",
        )
        self._plain = _counter(
            "plain_macs",
            "Multiply-accumulates that the network without gates takes for the same images, by "
            "layer.",
            "layer",
        )
        self._plan = Info(
            "offpath_skipping",
            "How each gated layer of the served network is computed: masked, or one of the ways to "
            "leave closed filters out.",
            ["layer"],
            registry=None,
        )
        self._one = threading.Lock()
        self._aside: list[tuple[MacCount | None, Tensor]] = []
        self._images_aside = 0
        registry.register(self)

    def served(self, plan: SkippingPlan, count: MacCount | None) -> None:
        """Another network is served.

        Args:
            plan: How its gated layers are computed.
            count: What it multiplies; None where that cannot be counted.
        """
        self._plan.clear()
        for layer, way in plan.to_json().items():
            self._plan.labels(layer).info({"way": way})
        # Layers of the network before stay: counters should not go back.
        for name in () if count is None else (layer.name for layer in count.layers):
            self._needed.labels(name)
            self._plain.labels(name)

    def batch(self, count: MacCount | None, images: int, result: Findings) -> None:
        """A batch came to findings.

        Args:
            count: What the network multiplies that looked at it; None where that is not known.
            images: So many of its images, the first ones, are of callers.
            result: The findings.
        """
        with self._one:
            self._aside.append((count, result.path.bits[:images]))
            self._images_aside += images
        if self._images_aside >= _MOST_ASIDE:
            self.count_all()

    def count_all(self) -> None:
        """Count what was put aside."""
        with self._one:
            aside, self._aside, self._images_aside = self._aside, [], 0
            # Around a promotion, paths of two networks wait: of other layers, perhaps unknown ones.
            for _, run in groupby(aside, key=lambda each: (id(each[0]), each[1].shape[1])):
                counts, bits = zip(*run, strict=True)
                self._count(counts[0], torch.cat(bits))

    @override
    def collect(self) -> Iterable[Metric]:
        """All of them, up to the last batch."""
        self.count_all()
        every = (self._gates, self._open_gates, self._needed, self._plain, self._plan)
        return [family for each in every for family in each.collect()]

    def describe(self) -> Iterable[Metric]:
        """Their names, by which a scrape may ask for some of them."""
        return self.collect()

    def _count(self, count: MacCount | None, bits: Tensor) -> None:
        self._gates.inc(bits.numel())
        self._open_gates.inc(int(bits.sum()))
        if count is None:
            return
        kept = count.kept(bits).sum(dim=0).tolist()
        for layer, of_layer in zip(count.layers, kept, strict=True):
            module = 0 if layer.module is None else len(bits) * layer.module.total
            self._needed.labels(layer.name).inc(of_layer + module)
            self._plain.labels(layer.name).inc(len(bits) * layer.dense)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"offpath_{name}", text, labels, registry=None)
