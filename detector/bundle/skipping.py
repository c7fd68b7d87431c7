"""Lets a loaded bundle leave out closed filters, where that is faster on this machine."""

from __future__ import annotations

import logging

from detector.bundle.bundle import Bundle
from detector.bundle.golden import check_golden
from detector.decoupling.skipping import SkippingChoice, choose_plan
from detector.errors import BundleError

__all__ = ["skip_where_it_pays"]

_log = logging.getLogger(__name__)


def skip_where_it_pays(bundle: Bundle, *, largest_batch: int) -> SkippingChoice | None:
    """Measure on the bundle's golden images, and skip from now on if that pays.

    The bundle then tests itself again: what it reports about rounding is measured with the network
    that serves.

    Args:
        bundle: As it was loaded; its pipeline may be changed.
        largest_batch: Most passes of the network in one batch.

    Returns:
        What was measured, and None where nothing was: a bundle without golden images.
    """
    pipeline, golden = bundle.pipeline, bundle.golden
    if golden is None:
        return None
    images = pipeline.prepared(golden["images"])
    choice, network = choose_plan(pipeline.network, images, largest_batch)
    if not choice.pays:
        return choice
    pipeline.skip(network)
    try:
        pipeline.expect(check_golden(pipeline, golden))
    except BundleError as error:
        pipeline.skip(None)
        _log.warning("Closed filters are computed all the same: %s", error)
        return None
    return choice
