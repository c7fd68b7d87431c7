"""Leaving out what closed gates throw away: plans, and networks that follow them."""

from detector.decoupling.skipping.network import SkippingNetwork
from detector.decoupling.skipping.plan import SkippingPlan, Way

__all__ = ["SkippingNetwork", "SkippingPlan", "Way"]
