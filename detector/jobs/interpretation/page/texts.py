"""Figures with their intervals, as cells of tables."""

from __future__ import annotations

from detector.jobs.evaluation.estimates import Estimate
from detector.jobs.pages.markup import Markup, element, join

__all__ = ["decimal", "per_cent"]


def per_cent(estimate: Estimate) -> Markup:
    """A share, in per cent."""
    interval = f"[{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
    return join([f"{100 * estimate.value:.1f} %", " ", element("small", interval)])


def decimal(estimate: Estimate) -> Markup:
    """A figure with two decimals."""
    interval = f"[{estimate.low:.2f}, {estimate.high:.2f}]"
    return join([f"{estimate.value:.2f}", " ", element("small", interval)])
