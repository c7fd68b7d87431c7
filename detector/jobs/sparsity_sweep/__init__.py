"""What closing filters costs: networks of different sparsity beside each other."""

from detector.jobs.sparsity_sweep.options import STANDARD_SHARES, MeasurePlan, SweepOptions
from detector.jobs.sparsity_sweep.report import NetworkFigures, SweepReport, Times
from detector.jobs.sparsity_sweep.sweep import sweep

__all__ = [
    "STANDARD_SHARES",
    "MeasurePlan",
    "NetworkFigures",
    "SweepOptions",
    "SweepReport",
    "Times",
    "sweep",
]
