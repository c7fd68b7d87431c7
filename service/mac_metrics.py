"""What Prometheus sees of multiplications: those that open gates need, beside all."""

from __future__ import annotations

import logging
from functools import cache

from prometheus_client import CollectorRegistry, Counter

from detector.decoupling import MacCount
from detector.errors import OffpathError
from detector.pipeline import Findings, Pipeline

__all__ = ["MacMetrics", "count_of"]

_log = logging.getLogger(__name__)


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


class MacMetrics:
    """Multiplications (MACs) that images need, layer by layer, and that plain networks would take.

    What `offpath cost` counts, by the rule of `MacCount`, modules included: a layer whose gates are
    nearly all open needs more than without gates. It is a count by gates, and no time: what the
    server computes of it, `offpath_skipping_info` tells. The share that is needed:

        sum(increase(offpath_needed_macs_total[1d])) / sum(increase(offpath_plain_macs_total[1d]))

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        needed = Counter(
            "offpath_needed_macs",
            "Multiply-accumulates that open gates and their modules need, of images in batches, "
            "copies left out, by layer.",
            ["layer"],
            registry=registry,
        )
        plain = Counter(
            "offpath_plain_macs",
            "Multiply-accumulates of the same images in the network without gates, by layer.",
            ["layer"],
            registry=registry,
        )
        # The layers of a few networks: they stay, as counters should not go back.
        self._needed_of, self._plain_of = cache(needed.labels), cache(plain.labels)

    def served(self, count: MacCount | None) -> None:
        """Another network is served; None where its multiplications cannot be counted."""
        for layer in () if count is None else count.layers:
            self._needed_of(layer.name)
            self._plain_of(layer.name)

    def batch(self, count: MacCount, images: int, result: Findings) -> None:
        """A batch came to findings.

        Args:
            count: Of the network that looked at it.
            images: So many of its images, the first ones, are of callers.
            result: The findings.
        """
        kept = count.kept(result.path.bits[:images]).sum(dim=0).tolist()
        for layer, of_layer in zip(count.layers, kept, strict=True):
            module = 0 if layer.module is None else images * layer.module.total
            self._needed_of(layer.name).inc(of_layer + module)
            self._plain_of(layer.name).inc(images * layer.dense)
