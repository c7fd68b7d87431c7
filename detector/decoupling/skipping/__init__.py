"""Leaving out what closed gates throw away: plans, and networks that follow them."""

from detector.decoupling.skipping.network import SkippingNetwork
from detector.decoupling.skipping.plan import SkippingPlan, Way
from detector.decoupling.skipping.planning import Comparison, SkippingChoice, choose_plan

__all__ = [
    "Comparison",
    "SkippingChoice",
    "SkippingNetwork",
    "SkippingPlan",
    "Way",
    "choose_plan",
]
